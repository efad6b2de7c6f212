"""Rates follow the batch: a recipe's values on another total batch.

A recipe states learning rate, EMA decays and ramp for its
``published_batch``. On a total batch ``B`` an epoch has ``published_batch /
B`` times as many optimizer steps, so that the learning rate becomes ``B /
published_batch`` times itself, and so does MAE-CT's rate of the head. Decays
and ramp stay: the teacher is updated once per ``published_batch`` images,
whatever the batch; MAE-CT's averages, after each step. Runs that are built
without this rule are stopped by :class:`BatchCheckHook`.
"""

import copy
import os

from mmengine.config import Config
from mmpretrain.registry import HOOKS

from ..engine.ema_teacher import EMATeacherHook
from ..engine.guards import BatchCheckHook
from ..utils.registry import is_a
from ..utils.validation import check_integer, check_number

KEY = BatchCheckHook.KEY
WORLD_SIZE = dict(
    pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE'
)


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
        ValueError: If ``published_batch`` is not a positive integer, a rate
            no number, or MMEngine would scale the rate once more.
    """
    if KEY not in cfg:
        return None
    if (cfg.get('auto_scale_lr') or {}).get('enable'):
        raise ValueError(
            f'auto_scale_lr.enable and {KEY} would both scale the learning '
            'rate: leave out auto_scale_lr'
        )
    published = cfg.pop(KEY)
    check_integer(KEY, published)
    batch = total_batch(cfg, processes)
    ratio = batch / published
    wrapper = cfg.optim_wrapper
    changes = 'learning rate ' + _scale(wrapper, 'optimizer', 'lr', ratio)
    if 'head_lr' in (wrapper.get('paramwise_cfg') or {}):
        changes += ', of the head '
        changes += _scale(wrapper, 'paramwise_cfg', 'head_lr', ratio)
    for hook in cfg.get('custom_hooks', []):
        if is_a(HOOKS, hook, EMATeacherHook):
            before = copy.deepcopy(hook)
            hook.setdefault('images_per_update', published)
            if cfg.get('teacher') == before:  # its name in a recipe
                cfg.teacher = copy.deepcopy(hook)
            changes += (
                ', the EMA teacher is updated once per '
                f'{hook.images_per_update} images'
            )
    return (
        f'total batch {batch} ({processes} processes x '
        f'{cfg.train_dataloader.batch_size} images x '
        f'{cfg.optim_wrapper.get("accumulative_counts", 1)} accumulated), '
        f'published batch {published}: {changes}'
    )


def _scale(wrapper: dict, part: str, key: str, ratio: float) -> str:
    """Multiply a rate in place, and say from what to what."""
    before = wrapper[part][key]
    check_number(f'optim_wrapper.{part}.{key}', before, '[0, inf)')
    wrapper[part][key] = before * ratio
    return f'{before:.4g} -> {before * ratio:.4g}'
