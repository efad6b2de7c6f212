"""Mixed precision without a scale of the loss, on any device."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS

from ..utils.machine import device_type


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Forward pass in bfloat16, weights and optimizer in float32.

    bfloat16 has the range of float32, so the loss needs no scale, which
    MMEngine's ``AmpOptimWrapper`` keeps all the same, with steps that it may
    skip; that one also refuses to run on a CPU. Takes the arguments of
    :class:`OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of ``model`` under autocast."""
        device = next(model.parameters()).device.type
        with (
            super().optim_context(model),
            torch.autocast(device, torch.bfloat16),
        ):
            yield


def mixed_precision() -> dict:
    """Config of the optimizer's wrapper for mixed precision on this machine.

    bfloat16 needs no scale of the loss and skips no step; GPUs older than
    NVIDIA's Ampere only emulate it, slowly. So do many processors, which have
    nothing else either: the log warns.
    """
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(
        including_emulation=False
    ):
        return dict(type='AmpOptimWrapper', loss_scale='dynamic')
    if device_type() == 'cpu' and not cpu_has_bfloat16():
        print_log(
            'mixed precision (--amp): this processor has no bfloat16, or '
            'torch, before 2.12, cannot tell. Emulated it is a fiftieth as '
            'fast as float32: leave --amp out',
            'current',
            logging.WARNING,
        )
    return dict(type='AutocastOptimWrapper')


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies matrices in bfloat16 itself.

    Others emulate it at a fiftieth of float32's speed.
    """
    # torch before 2.12 cannot tell
    can = getattr(torch.cpu, 'get_capabilities', dict)()
    return any(can.get(name) for name in ('avx512_bf16', 'amx_bf16', 'bf16'))
