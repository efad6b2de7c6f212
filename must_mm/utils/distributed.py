"""Batches that span all processes, and where these meet."""

import socket

import torch
import torch.distributed as dist
from torch.distributed.nn.functional import all_gather


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
