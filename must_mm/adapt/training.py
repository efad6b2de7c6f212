"""The runs: as many as are asked for, each with a seed of its own."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TextIO

from mmengine.runner import Runner

from ..runs.launch import build_runner
from .fallback import train_or_fall_back, undo
from .progress import ProgressHook
from .side_by_side import gpus, train_side_by_side


def train_all(
    config: Path, folders: Sequence[Path], seed: int, screen: TextIO
) -> list[Path]:
    """Train all runs: one a GPU where there are several, else in turn.

    Args:
        config: The config.
        folders: Folder of each run.
        seed: Seed of the first run; the others follow.
        screen: Where to show the progress.

    Returns:
        The checkpoint of each run.
    """
    seeds, devices = range(seed, seed + len(folders)), gpus()[: len(folders)]
    if len(devices) > 1:
        return train_side_by_side(config, folders, seeds, devices, screen)
    return [
        train(config, folder, screen, own)
        for folder, own in zip(folders, seeds, strict=True)
    ]


def train(config: Path, run: Path, screen: TextIO, seed: int) -> Path:
    """Train as ``tools/train.py`` does, from the newest checkpoint if any.

    Args:
        config: The config.
        run: Folder for log and checkpoints.
        screen: Where to show the progress.
        seed: Seed of the run.

    Returns:
        The checkpoint to take, see :func:`train_or_fall_back`.
    """
    runner = _runner(config, run, seed, '--resume')
    progress = ProgressHook(screen)
    runner.register_hook(progress)
    with closing(progress):
        return train_or_fall_back(runner)


def undo_run(config: Path, run: Path, seed: int, found: str) -> Path:
    """Leave the start for the result of a run that has ended; see `undo`."""
    return undo(_runner(config, run, seed), found)


def _runner(config: Path, run: Path, seed: int, *more: str) -> Runner:
    argv = [str(config), '--work-dir', str(run), *more]
    # MMEngine shares logs between runs of one name within a process
    argv += [
        '--cfg-options',
        f'experiment_name=adapt-{time.time_ns()}',
        f'randomness.seed={seed}',
    ]
    return build_runner('', 'train', argv)
