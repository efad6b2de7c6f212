"""Several processes of one test."""

from collections.abc import Callable

import torch
import torch.multiprocessing as mp


def on_ranks(function: Callable, *args, ranks: int = 2) -> None:
    """Run ``function(rank, *args)`` in as many processes, and wait.

    Forked, which saves each of them the seconds of all imports; started anew
    where CUDA forbids that.
    """
    method = 'spawn' if torch.cuda.is_available() else 'fork'
    mp.start_processes(function, args, nprocs=ranks, start_method=method)
