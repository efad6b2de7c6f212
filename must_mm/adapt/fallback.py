"""What a run leaves where self-training has collapsed: what was sound."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn as nn
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from ..checkpoints.plain import load_tensors
from ..checkpoints.resume import find_resumable
from ..engine.checkpoint_hook import LAST_SOUND
from ..engine.collapse import (
    LIMITS,
    Collapsed,
    CollapseHook,
    Signals,
    beyond,
    spread,
)
from ..models.class_prior import uniform_prior
from ..utils.distributed import unwrap

FILE = 'fallback.txt'
#: A collapse begins before it shows: a state from the first half of a run
#: that collapses may be worse than the start.
LATE = 0.5
#: Images of each class, on average, below which shares say little.
FEW = 10

OF_ALL_IMAGES = dict(
    class_growth="{top_class_share:.0%} of the images were called '{name}', "
    '{class_growth:.1f} times its due',
    lost_classes='{lost_classes:.0%} of the classes had less than a tenth of '
    'their due',
    start_disagreement='{start_disagreement:.0%} of the images were given '
    "another class than the start's",
)


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
    return undo(runner, found, _late_and_sound(runner))


def undo(runner: Runner, found: str, sound: Path | None = None) -> Path:
    """Take what was sound for the result of a run, and leave word of it.

    Args:
        runner: The run.
        found: What went wrong.
        sound: The checkpoint to take; the start by default.
    """
    checkpoint, left = sound, 'what it was before that showed'
    if sound is None:
        checkpoint, left = write_start(runner), 'the start as it was'
        if runner.cfg.get('load_from'):
            left = 'the result that it went on from, as it was'
    Path(runner.work_dir, FILE).write_text(
        f'Self-training went wrong on these images and was undone: {found}. '
        f'The classifier is {left}.\n',
        encoding='utf-8',
    )
    return checkpoint


def gone_wrong(
    labels: torch.Tensor,
    start: torch.Tensor,
    prior: Sequence[float] | None,
    classes: Sequence[str],
) -> str:
    """Say what a result has made of all images, where no good run does that.

    The hook watches the teacher, from step to step; this is of the network
    that is exported, in the end, by the same limits.

    Args:
        labels: Its labels, (N,).
        start: The start's, (N,).
        prior: Shares to expect of the classes, even ones by default.
        classes: Class names, K.

    Returns:
        What is beyond a limit; nothing where nothing is, or where there are
        too few images to tell.
    """
    if len(labels) < FEW * len(classes):
        return ''
    shares = torch.tensor(prior) if prior else uniform_prior(len(classes))
    signals = Signals(
        start_disagreement=(labels != start).double().mean().item(),
        **spread(
            torch.bincount(labels, minlength=len(classes)),
            torch.bincount(start, minlength=len(classes)),
            shares,
        ),
    )
    name = classes[signals.top_class]
    return ', '.join(
        OF_ALL_IMAGES[key].format(name=name, **vars(signals))
        for key in beyond(signals, LIMITS, 'stop')
    )


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
