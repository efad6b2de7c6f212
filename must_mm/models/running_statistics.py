"""Passes that leave the running statistics of batch norms alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn as nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def running_statistics_kept(
    module: nn.Module, enabled: bool = True
) -> Iterator[None]:
    """Normalise with the batch's statistics, but do not average them.

    For views that no image to classify looks like, such as masked ones.

    Args:
        module: A module, batch norms of any kind within it.
        enabled: Whether to; otherwise nothing is changed.
    """
    norms = [
        norm
        for norm in module.modules()
        if enabled
        and isinstance(norm, _BatchNorm)
        and norm.training
        and norm.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
