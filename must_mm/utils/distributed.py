"""What reaches beyond one process or device: gathering, wrappers, copies."""

import socket
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.nn as nn
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.model import is_model_wrapper
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.nn.functional import all_gather
from torch.distributed.tensor import DTensor

T = TypeVar('T')


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """Concatenate the ranks' tensors, of equal shape, in order of rank.

    The gradient flows back to every rank, summed over the ranks. Without
    ``torch.distributed`` the tensor itself is returned.

    Args:
        tensor: This rank's rows, (B, ...).

    Returns:
        All rows, (world size * B, ...).
    """
    if not (dist.is_available() and dist.is_initialized()):
        return tensor
    return torch.cat(all_gather(tensor.contiguous()))


def free_port() -> int:
    """Find a port on this machine at which processes can meet."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def unwrap(model: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """Return the model inside a data-parallel wrapper.

    Args:
        model: The model, wrapped or not.
        kind: What it must be.

    Raises:
        TypeError: If it is another model.
    """
    model = model.module if is_model_wrapper(model) else model
    if not isinstance(model, kind):
        raise TypeError(
            f"this part of the config needs model.type='{kind.__name__}', "
            f'got {type(model).__name__}'
        )
    return model


def check_whole_weights(model: nn.Module) -> None:
    """Raise unless every process holds the whole of each weight.

    Raises:
        ValueError: If the model is sharded, by FSDP or FSDP2.
    """
    if any(
        isinstance(module, FullyShardedDataParallel)
        for module in model.modules()
    ) or any(isinstance(weight, DTensor) for weight in model.parameters()):
        raise ValueError(
            'the weights are sharded (FSDP): averages of weights, scalars '
            'that are read late and checkpoints need them whole. Leave '
            'model_wrapper_cfg out, which is data parallel (DDP); where '
            "memory is short, add dict(type='RecomputeBlocksHook') to "
            'custom_hooks, or lower train_dataloader.batch_size'
        )


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device, behind the work that is queued there.

    From the host's memory, unless it is pinned, the host would wait until a
    GPU has done everything before the copy.
    """
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def from_main_process(work: Callable[[], T]) -> T:
    """Run ``work`` on rank 0 and give its result to all; fail together.

    Raises:
        RuntimeError: On the other ranks, if rank 0 failed.
    """
    found = [None, None]
    if is_main_process():
        try:
            found[0] = work()
        except Exception as error:
            broadcast_object_list([None, f'{type(error).__name__}: {error}'])
            raise
    broadcast_object_list(found)
    if found[1] is not None:
        raise RuntimeError(f'rank 0 failed: {found[1]}')
    return found[0]
