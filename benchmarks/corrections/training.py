"""A result, and training on from it with some labels, by the real runner."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from mmengine.config import Config

from must_mm.adapt.config_parts import LABELLED_SHARE
from must_mm.adapt.predict import Seen
from must_mm.adapt.settings import teacher_decay
from must_mm.adapt.shares import set_prior
from must_mm.adapt.trust import temperature_of
from must_mm.evaluation.class_shares import clearly_other, estimate_shares
from must_mm.models.class_prior import uniform_prior

from ..accuracy import training as accuracy
from ..accuracy.tasks import CLASSES
from . import views  # noqa: F401, registers the data set
from .choice import by_chance, by_review, look

SETTING = 'balanced'
REVIEW, CHANCE, EVEN = 'review', 'chance', 'review-even'
NOTHING = 'nothing'  # is labelled: training on alone


@dataclass(frozen=True)
class Job:
    """A correction.

    Attributes:
        task: Name of the task.
        start: Seed of the start model.
        draw: Seed of the result, of what follows, and of chance.
        choice: How the images are chosen; ``EVEN`` is a review after which
            the class prior stays uniform, whatever the labels say.
        count: How many are labelled.
    """

    task: str
    start: int
    draw: int
    choice: str
    count: int


@dataclass(frozen=True)
class Result:
    """What is corrected.

    Attributes:
        checkpoint: Student and teacher.
        start: What the start makes of the training images.
        student: What the student makes of them.
    """

    checkpoint: Path
    start: Seen
    student: Seen


@lru_cache(maxsize=1)
def result_of(
    root: Path, task: str, start: int, draw: int, mnist: Path | None
) -> Result:
    """Train the result that is corrected, once."""
    path = root / 'corrections' / f'{task}-{start}-{draw}.pth'
    if not path.is_file():
        job = accuracy.Job(task, SETTING, start, draw)
        cfg, chosen = accuracy.build_config(root, job, mnist)
        runner, _ = accuracy.quiet_runner(cfg)
        runner.model.init_weights()
        pixels = accuracy.images_of(root, task, chosen)['train'][0]
        before = look(runner.model, pixels)
        runner.train()
        after = look(runner.model, pixels)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix('.partial')
        state = runner.model.state_dict()
        torch.save(
            dict(
                state_dict=state,
                start=before._asdict(),
                student=after._asdict(),
            ),
            partial,
        )
        partial.rename(path)
    kept = torch.load(path, weights_only=True)
    return Result(path, Seen(**kept['start']), Seen(**kept['student']))


def with_labels(cfg: Config, known: list[tuple[int, int]]) -> None:
    """Let a config learn labels: indices of images, and their classes."""
    cfg.model.label_loss = dict(type='LabelLoss')
    cfg.train_dataloader.dataset.type = 'LabelledViews'
    cfg.train_dataloader.dataset.known = known


def train_on(
    cfg: Config, checkpoint: Path, known: list[tuple[int, int]]
) -> None:
    """Let a run go on from a result as ``must-adapt --labels`` does.

    Args:
        cfg: Config of the result's run, changed in place.
        checkpoint: The result.
        known: Indices of training images, and their classes.
    """
    images = len(cfg.train_dataloader.dataset.labels)
    epochs = max(1, round(cfg.train_cfg.max_epochs / 3))
    steps = epochs * (images // cfg.train_dataloader.batch_size)
    cfg.train_cfg.max_epochs = cfg.param_scheduler.end = epochs
    decay = teacher_decay(steps)
    for hook in cfg.custom_hooks:
        if hook.type == 'EMATeacherHook':
            hook.decay_start = hook.decay_end = decay
    cfg.load_from = str(checkpoint)
    if known:
        with_labels(cfg, known)
        cfg.train_dataloader.sampler = dict(
            type='LabelledShareSampler', share=LABELLED_SHARE, shuffle=True
        )


def chosen_images(job: Job, result: Result) -> list[int]:
    """Indices of the training images that are labelled."""
    if job.choice == CHANCE:
        return by_chance(len(result.student.logits), job.count, job.draw)
    if job.choice == NOTHING:
        return []
    return by_review(result.start, result.student, job.count, job.draw)


def prior_of(
    result: Result, known: list[tuple[int, int]]
) -> list[float] | None:
    """The class prior that the labels speak for, as must-adapt has it."""
    if not known:
        return None
    places, labels = map(torch.tensor, zip(*known, strict=True))
    logits = result.student.logits / temperature_of(result.student)
    found = estimate_shares(logits, places, labels)
    if not clearly_other(found, uniform_prior(CLASSES)):
        return None
    return found.shares.tolist()


def run(root: Path, job: Job, mnist: Path | None) -> dict:
    """Correct a result and judge it, before and after.

    Args:
        root: Data folder: starts, images, views, results.
        job: The correction.
        mnist: See :func:`write_folder`.
    """
    result = result_of(root, job.task, job.start, job.draw, mnist)
    begin = time.monotonic()
    base = accuracy.Job(job.task, SETTING, job.start, job.draw)
    cfg, members = accuracy.build_config(root, base, mnist)
    chosen = chosen_images(job, result)
    truth = members.labels
    known = [(place, int(truth[place])) for place in chosen]
    train_on(cfg, result.checkpoint, known)
    shares = None if job.choice == EVEN else prior_of(result, known)
    if shares:
        set_prior(cfg, shares)
    runner, _ = accuracy.quiet_runner(cfg)
    kept = torch.load(result.checkpoint, weights_only=True)
    runner.model.load_state_dict(kept['state_dict'])
    parts = accuracy.images_of(root, job.task, members)
    # the labelled ones are known: they are not judged
    rest = torch.ones(len(truth), dtype=torch.bool)
    rest[chosen] = False
    parts['rest'] = tuple(one[rest] for one in parts.pop('train'))

    def judged() -> dict:
        return {
            part: accuracy.judge(
                look(runner.model, pixels).labels, labels, members.judged
            )
            for part, (pixels, labels) in parts.items()
        }

    before = judged()
    runner.train()
    logging.disable(logging.NOTSET)
    said = result.student.labels[chosen] if chosen else truth[:0]
    return dict(
        vars(job),
        labelled=len(chosen),
        wrong=int((said != truth[chosen]).sum()) if chosen else 0,
        prior=shares and [round(share, 4) for share in shares],
        before=before,
        after=judged(),
        seconds=round(time.monotonic() - begin, 1),
    )
