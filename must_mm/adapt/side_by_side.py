"""Several runs at a time, one a GPU, each a process of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

import torch

#: What a process says last: the checkpoint to take.
TAKE = 'checkpoint: '


def gpus() -> list[str]:
    """GPUs as ``CUDA_VISIBLE_DEVICES`` names them; none without CUDA."""
    count = torch.cuda.device_count()
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    names = visible.split(',') if visible else map(str, range(count))
    return [name.strip() for name in names][:count]


def train_side_by_side(
    config: Path,
    folders: Sequence[Path],
    seeds: Sequence[int],
    devices: Sequence[str],
    screen: TextIO,
) -> list[Path]:
    """Train one run a device at a time, until all are done.

    Args:
        config: The config.
        folders: Folder of each run, where its log goes, too.
        seeds: Seed of each run.
        devices: What ``CUDA_VISIBLE_DEVICES`` is set to.
        screen: Where to show the progress of all.

    Returns:
        The checkpoint of each run, in their order.

    Raises:
        RuntimeError: If a run fails, once the others have ended.
    """
    free: SimpleQueue[str] = SimpleQueue()
    for device in devices:
        free.put(device)
    running: list[subprocess.Popen] = []

    def one(number: int) -> Path:
        device, folder = free.get(), folders[number]
        command = [sys.executable, '-m', 'must_mm.adapt.one_run']
        command += [str(config), str(folder), str(seeds[number])]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / 'log.txt').open('a', encoding='utf-8') as log:
            process = subprocess.Popen(
                command,
                env=os.environ | dict(CUDA_VISIBLE_DEVICES=device),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding='utf-8',
            )
            running.append(process)
            checkpoint = None
            for line in process.stdout:
                if line.startswith(TAKE):
                    checkpoint = line.removeprefix(TAKE).rstrip('\n')
                else:
                    print(f'run {number + 1}{line}', end='', file=screen)
                    screen.flush()
        free.put(device)
        if process.wait() or checkpoint is None:
            raise RuntimeError(
                f'run {number + 1} ended with status {process.returncode}: '
                f'{folder / "log.txt"} says why; --resume goes on'
            )
        return Path(checkpoint)

    pool = ThreadPoolExecutor(len(devices))
    try:
        waiting = [pool.submit(one, n) for n in range(len(folders))]
        wait(waiting)
        return [done.result() for done in waiting]
    finally:
        # after Ctrl-C: no new ones, and none goes on alone
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            if process.poll() is None:
                process.terminate()
                process.wait()
