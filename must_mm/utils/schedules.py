"""Curves of a learning rate over the steps of a run."""

import math


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Factor on a learning rate, see :class:`WarmupCosineLR`.

    Args:
        step: Number ``s`` of steps taken before this one.
        warmup: Number ``W`` of warm-up steps.
        total: Number ``N`` of all steps.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
