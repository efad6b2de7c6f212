"""A result, and what labels teach it, by the real runner."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config

from must_mm.adapt.lesson import lesson
from must_mm.adapt.settings import fewer, teacher_decay
from must_mm.adapt.shares import set_prior
from must_mm.adapt.trust import temperature_of
from must_mm.checkpoints.plain import load_tensors
from must_mm.evaluation.class_shares import clearly_other, estimate_shares
from must_mm.models.class_prior import uniform_prior

from ..accuracy import training as accuracy
from ..accuracy.tasks import CLASSES
from ..accuracy.trust import TOGETHER
from .choice import by_chance, by_review
from .taught import (
    Pupil,
    learning,
    said_together,
    student_of,
    train_teachers,
)
from .taught import run as teach

REVIEW, CHANCE = 'review', 'chance'
NOTHING = 'nothing'  # is labelled: what was taught is taught for longer


@dataclass(frozen=True)
class Job:
    """A correction.

    Attributes:
        task: Name of the task.
        start: Seed of the start model.
        draw: Of what follows, and of chance.
        choice: How the images are chosen.
        count: How many are labelled.
    """

    task: str
    start: int
    draw: int
    choice: str
    count: int

    @property
    def pupil(self) -> Pupil:
        """Whose result is corrected."""
        return Pupil(self.task, self.start)


def go_on(cfg: Config, checkpoint: Path) -> None:
    """Let a run go on from a result as ``must-adapt --labels`` does.

    Args:
        cfg: Config of a run from the start, changed in place.
        checkpoint: The result.
    """
    images = len(cfg.train_dataloader.dataset.labels)
    epochs = fewer(cfg.train_cfg.max_epochs)
    steps = epochs * (images // cfg.train_dataloader.batch_size)
    cfg.train_cfg.max_epochs = cfg.param_scheduler.end = epochs
    decay = teacher_decay(steps)
    for hook in cfg.custom_hooks:
        if hook.type == 'EMATeacherHook':
            hook.decay_start = hook.decay_end = decay
    cfg.load_from = str(checkpoint)


def prior_of(seen: accuracy.Predicted, known: dict[int, int]) -> torch.Tensor:
    """The class prior that the labels speak for, as must-adapt has it.

    Args:
        seen: What the result makes of the images that train.
        known: Classes of some of them, by index.
    """
    even = uniform_prior(CLASSES)
    if not known:
        return even
    places, labels = map(torch.tensor, zip(*known.items(), strict=True))
    logits = seen.logits / temperature_of(seen)
    found = estimate_shares(logits, places, labels)
    return found.shares.float() if clearly_other(found, even) else even


def run(root: Path, job: Job, mnist: Path | None) -> dict:
    """Correct a result and judge it, before and after.

    Args:
        root: Data folder: starts, images, views, what runs have left.
        job: The correction.
        mnist: See :func:`write_folder`.
    """
    begin, student = time.monotonic(), student_of(root, job.pupil)
    if not student.is_file():
        train_teachers(root, job.pupil, mnist)
        teach(root, job.pupil, mnist)
    said = said_together(root, job.pupil)
    before_it = lesson(said, {}, uniform_prior(CLASSES))
    _, members = learning(root, job.pupil, before_it.labels, mnist)
    parts = accuracy.images_of(root, job.task, members)
    truth, pixels = members.labels, parts['train'][0]
    chosen = []
    if job.choice == CHANCE:
        chosen = by_chance(len(truth), job.count, job.draw)
    elif job.choice == REVIEW:
        chosen = by_review(before_it, pixels, job.count)
    known = {place: int(truth[place]) for place in chosen}
    kept = load_tensors(student)
    result = accuracy.Predicted(**kept['seen'])
    prior = prior_of(result, known)
    named = {str(place): label for place, label in known.items()}
    labels = lesson(said, named, prior).labels
    cfg, _ = learning(root, job.pupil, labels, mnist)
    go_on(cfg, student)
    if not torch.equal(prior, uniform_prior(CLASSES)):
        set_prior(cfg, prior.tolist())
    cfg.randomness.seed = TOGETHER + 1 + job.draw
    runner, _ = accuracy.quiet_runner(cfg)
    runner.model.load_state_dict(kept['state_dict'])
    # the labelled ones are known: they are not judged
    rest = torch.ones(len(truth), dtype=torch.bool)
    rest[chosen] = False
    parts['rest'] = tuple(one[rest] for one in parts.pop('train'))

    def judged() -> dict:
        return {
            part: accuracy.judge(
                accuracy.predictions(runner.model, 'student', images).labels,
                labels,
                members.judged,
            )
            for part, (images, labels) in parts.items()
        }

    before = judged()
    wrong = [n for n, label in known.items() if result.labels[n] != label]
    runner.train()
    logging.disable(logging.NOTSET)
    return dict(
        vars(job),
        labelled=len(chosen),
        wrong=len(wrong),
        before=before,
        after=judged(),
        seconds=round(time.monotonic() - begin, 1),
    )
