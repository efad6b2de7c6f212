"""The maths of the EMA teacher: its ramp and its update.

``decay`` is the weight of the old teacher, as in the paper; MMEngine's
``momentum`` is ``1 - decay`` and is not used here.
"""

from collections.abc import Sequence

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn


def ema_decay(step: int, start: float, end: float, warmup_steps: int) -> float:
    """Linear ramp ``d0 + (d1 - d0) * min(1, t / T_warm)`` (Sec. 3.1).

    Args:
        step: Number ``t`` of updates before this one.
        start: Decay ``d0`` at the first update, in [0, 1].
        end: Decay ``d1`` after the ramp, in [0, 1].
        warmup_steps: Length ``T_warm`` of the ramp in updates.
    """
    ramp = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return start + (end - start) * ramp


@torch.no_grad()
def ema_update(
    averaged: Sequence[torch.Tensor],
    current: Sequence[torch.Tensor],
    decay: float,
) -> None:
    """In place ``averaged = decay * averaged + (1 - decay) * current``.

    Integer tensors (counters of batch norms) are copied.

    Args:
        averaged: Tensors to update.
        current: As many tensors of the same shapes.
        decay: Weight of the past, in [0, 1].
    """
    pairs = list(zip(averaged, current, strict=True))
    floating = [pair for pair in pairs if pair[0].is_floating_point()]
    counters = [pair for pair in pairs if not pair[0].is_floating_point()]
    if floating:
        get_ema_multi_avg_fn(decay)(*map(list, zip(*floating, strict=True)), 0)
    if counters:
        torch._foreach_copy_(*map(list, zip(*counters, strict=True)))
