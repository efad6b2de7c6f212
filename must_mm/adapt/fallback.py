"""What a run leaves where self-training has collapsed: what was sound."""

from pathlib import Path

import torch.nn as nn
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from ..checkpoints.plain import load_tensors
from ..checkpoints.resume import find_resumable
from ..engine.checkpoint_hook import LAST_SOUND
from ..engine.collapse import Collapsed, CollapseHook
from ..utils.distributed import unwrap

FILE = 'fallback.txt'
#: A collapse begins before it shows: a state from the first half of a run
#: that collapses may be worse than the start.
LATE = 0.5


def train_or_fall_back(runner: Runner) -> Path:
    """Train; where that ends in a collapse, go back to what was sound.

    Args:
        runner: The run; :class:`CollapseHook` watches it.

    Returns:
        The checkpoint to take: the last one; if self-training has collapsed
        or is about to, the last sound one of the second half of the run, or
        else the start. :func:`fallback_of` says so.
    """
    run = Path(runner.work_dir)
    (run / FILE).unlink(missing_ok=True)
    try:
        runner.train()
    except Collapsed as error:
        found = error.found
    else:
        found = next(
            (
                hook.found
                for hook in runner.hooks
                if isinstance(hook, CollapseHook) and hook.flagged
            ),
            '',
        )
    if not found:
        checkpoint, _ = find_resumable(run)
        return Path(checkpoint)
    checkpoint = _late_and_sound(runner)
    left = 'what it was before that showed'
    if checkpoint is None:
        checkpoint, left = write_start(runner), 'the start as it was'
    (run / FILE).write_text(
        f'Self-training went wrong on these images and was undone: {found}. '
        f'The classifier is {left}.\n',
        encoding='utf-8',
    )
    return checkpoint


def fallback_of(run: Path) -> str:
    """Say that a run was undone, why, and what is left; nothing otherwise."""
    file = Path(run, FILE)
    return file.read_text(encoding='utf-8').strip() if file.is_file() else ''


def _late_and_sound(runner: Runner) -> Path | None:
    pointer = Path(runner.work_dir, LAST_SOUND)
    if not pointer.is_file():
        return None
    # here first: a renamed folder still names the original
    named = Path(pointer.read_text())
    here = pointer.with_name(named.name)
    checkpoint = here if here.is_file() else named
    done = load_tensors(checkpoint)['meta']['iter']
    return checkpoint if done >= LATE * runner.max_iters else None


def write_start(runner: Runner) -> Path:
    """Write a checkpoint of what a run has started from.

    In a folder of its own, where no run would be resumed from it.
    """
    start = MODELS.build(runner.cfg.model)
    start.init_weights()
    unwrap(runner.model, nn.Module).load_state_dict(
        start.state_dict(), strict=False
    )
    if runner.cfg.get('load_from'):
        runner.load_checkpoint(runner.cfg.load_from)
    folder = Path(runner.work_dir, 'start')
    runner.save_checkpoint(
        str(folder),
        'start.pth',
        save_optimizer=False,
        save_param_scheduler=False,
    )
    return folder / 'start.pth'
