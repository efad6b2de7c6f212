"""Rates follow the batch: a recipe's values on another total batch.

A recipe states learning rate, EMA decays and ramp for its
``published_batch``. On a total batch ``B`` an epoch has ``published_batch /
B`` times as many optimizer steps, so that, with ``r = B / published_batch``,
the learning rate becomes ``r * lr``, a decay ``d ** r`` and the ramp
``T_warm / r``: per image, the same progress and the same memory of the
teacher.
"""

import os
from inspect import signature

from mmengine.config import Config

from ..engine.ema_teacher import EMATeacherHook
from ..utils.validation import check_integer

KEY = 'published_batch'
EMA_DEFAULTS = signature(EMATeacherHook).parameters
WORLD_SIZE = dict(
    pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE'
)


def scale_ema(
    decays: tuple[float, float], warmup_steps: int, ratio: float
) -> tuple[tuple[float, float], int]:
    """Scale the decays and the ramp of the EMA teacher.

    Args:
        decays: Decay at the first step and after the ramp, in [0, 1].
        warmup_steps: Length of the ramp, in optimizer steps.
        ratio: Total batch over published batch.

    Returns:
        Decays and ramp for the total batch.
    """
    start, end = (decay**ratio for decay in decays)
    return (start, end), round(warmup_steps / ratio)


def count_processes(launcher: str) -> int:
    """Number of processes that ``launcher`` has started.

    Raises:
        ValueError: If the launcher has not set its environment variable.
    """
    if launcher == 'none':
        return 1
    name = WORLD_SIZE[launcher]
    if name not in os.environ:
        raise ValueError(
            f'--launcher {launcher} needs {name} in the environment: start '
            'the tool with tools/dist_train.sh, tools/slurm_train.sh or mpirun'
        )
    return int(os.environ[name])


def total_batch(cfg: Config, processes: int) -> int:
    """Images per optimizer step: processes, per-process batch, accumulation.

    Args:
        cfg: Config of the run.
        processes: Number of processes, one for each GPU.
    """
    accumulation = cfg.optim_wrapper.get('accumulative_counts', 1)
    return processes * cfg.train_dataloader.batch_size * accumulation


def follow_batch(cfg: Config, processes: int) -> str | None:
    """Scale a recipe to the total batch of this run.

    ``published_batch`` is removed: the values are now those of this run, and
    a run from the config that MMEngine saves does not scale them again.
    Configs without the key stay as they are.

    Args:
        cfg: Config of the run, changed in place.
        processes: Number of processes, one for each GPU.

    Returns:
        What was changed, to be printed; ``None`` without the key.

    Raises:
        ValueError: If ``published_batch`` is no positive integer.
    """
    if KEY not in cfg:
        return None
    published = cfg.pop(KEY)
    check_integer(KEY, published)
    batch = total_batch(cfg, processes)
    optimizer = cfg.optim_wrapper.optimizer
    ratio = batch / published
    lines = [f'learning rate {optimizer.lr:.4g} -> {optimizer.lr * ratio:.4g}']
    optimizer.lr *= ratio
    for hook in cfg.get('custom_hooks', []):
        if hook.type != 'EMATeacherHook':
            continue
        start, end, ramp = (
            hook.get(name, EMA_DEFAULTS[name].default)
            for name in ('decay_start', 'decay_end', 'warmup_steps')
        )
        old = (start, end), ramp
        new = scale_ema(*old, ratio)
        (hook.decay_start, hook.decay_end), hook.warmup_steps = new
        lines += [
            f'EMA decay {before:.6g} -> {after:.6g}'
            for before, after in zip(old[0], new[0], strict=True)
        ]
        lines.append(f'ramp {old[1]} -> {new[1]} steps')
    return (
        f'total batch {batch} ({processes} processes x '
        f'{cfg.train_dataloader.batch_size} images x '
        f'{cfg.optim_wrapper.get("accumulative_counts", 1)} accumulated), '
        f'published batch {published}: {", ".join(lines)}'
    )
