"""Time and memory of training steps, in turns."""

import argparse
import gc
import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.registry import init_default_scope

from benchmarks.contenders import Step


def wait(device: str) -> None:
    """Wait until the device has finished."""
    if device == 'cuda':
        torch.cuda.synchronize()


def time_in_turn(
    steps: Sequence[Step], rounds: int, repeat: int, device: str
) -> list[list[float]]:
    """Seconds a step of each contender, in every round, one after another.

    On one thread of a CPU those are the processor's: what else the machine
    does then counts less.
    """
    one_thread = device == 'cpu' and torch.get_num_threads() == 1
    clock = time.process_time if one_thread else time.perf_counter
    found: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, seconds in zip(steps, found, strict=True):
            wait(device)
            start = clock()
            for _ in range(repeat):
                step()
            wait(device)
            seconds.append((clock() - start) / repeat)
    return found


def _resident(key: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at most (Linux)."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f'/proc/self/status has no {key}')


def _peak_of_child(make: Callable[[], Step], threads: int, queue) -> None:
    torch.set_num_threads(threads)
    init_default_scope('mmpretrain')
    before = _resident('VmRSS')
    step = make()
    gc.collect()  # what was built on the way
    Path('/proc/self/clear_refs').write_text('5')  # forgets the peak so far
    for _ in range(2):
        step()
    queue.put(_resident('VmHWM') - before)


def peak_memory(make: Callable[[], Step], args: argparse.Namespace) -> float:
    """Largest memory of two steps in bytes, or NaN if it is not wanted.

    On a GPU what tensors take, on a CPU (Linux) what a fresh process takes
    beyond the libraries it has loaded.
    """
    if args.no_memory:
        return float('nan')
    if args.device == 'cuda':
        gc.collect()  # models hold themselves in circles
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        step = make()
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(2):
            step()
        return torch.cuda.max_memory_allocated() - before
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    child = context.Process(
        target=_peak_of_child, args=(make, torch.get_num_threads(), queue)
    )
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(
            f'the process that measures memory ended with {child.exitcode}'
        )
    return queue.get()


def matrix_rate(
    device: str, dtype: torch.dtype, seconds: float = 2.0
) -> float:
    """Operations a second of the largest matrix product that time allows.

    Args:
        device: Where to multiply.
        dtype: Precision of the matrices; one that the processor has no
            instructions for can take hundreds of times as long.
        seconds: About how long to measure at most.
    """
    size, largest = 256, 8192 if device == 'cuda' else 2048
    while True:
        a = torch.randn(size, size, device=device).to(dtype)
        (found,) = time_in_turn([lambda a=a: a @ a], 4, 3, device)
        spent = min(found[1:])
        # the next size takes eight times as long, twelve times over
        if size == largest or 8 * 12 * spent > seconds:
            return 2 * size**3 / spent
        size *= 2
