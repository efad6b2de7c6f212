"""A student that several runs teach together, beside these runs.

Each training image has the label that must-adapt makes of what the runs say;
the student begins where they began, and learns as the balanced setting does,
with views of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import torch
from mmengine.config import Config

from must_mm.adapt import said as runs_said
from must_mm.adapt.lesson import lesson
from must_mm.checkpoints.plain import save_tensors
from must_mm.models.class_prior import uniform_prior

from ..accuracy import training as accuracy
from ..accuracy.tasks import CLASSES, TASKS
from ..accuracy.trust import TOGETHER, Said, choices, said, together
from ..resumable import read_results, run_missing
from ..text import table
from . import views  # noqa: F401, registers the data set

SETTING = 'balanced'


@dataclass(frozen=True)
class Pupil:
    """A student to be taught.

    Attributes:
        task: Name of the task.
        start: Seed of the start model, and of its teachers'.
    """

    task: str
    start: int


def run_of(pupil: Pupil, seed: int) -> accuracy.Job:
    """The run of a seed, on the images that those of all seeds have."""
    task = TASKS[pupil.task]
    draw = 0 if task.unbalanced or task.lacks_class else seed
    return accuracy.Job(pupil.task, SETTING, pupil.start, draw)


def _files(root: Path, pupil: Pupil) -> dict[int, Path]:
    """Where the runs leave what they say, by seed."""
    return {
        seed: accuracy.predictions_of(root, run_of(pupil, seed), seed)
        for seed in range(TOGETHER)
    }


def _all_there(root: Path, pupil: Pupil) -> bool:
    return all(path.is_file() for path in _files(root, pupil).values())


def _kept(root: Path, pupil: Pupil) -> list[dict]:
    """What the first runs from a start have left; nothing if too few."""
    if not _all_there(root, pupil):
        return []
    files = _files(root, pupil).values()
    return [torch.load(path, weights_only=True) for path in files]


def train_teachers(root: Path, pupil: Pupil, mnist: Path | None) -> None:
    """Train what the accuracy benchmark does not: other seeds, same images."""
    for seed, path in _files(root, pupil).items():
        job = run_of(pupil, seed)
        if not path.is_file() and job.draw != seed:
            accuracy.run(root, job, mnist, seed)


def teachers(root: Path, pupil: Pupil, part: str) -> list[Said]:
    """What the first runs from a start say of a part; none if too few."""
    return [said(kept, part) for kept in _kept(root, pupil)]


def judged_alone(one: Said, judged: tuple[int, ...]) -> Said:
    """Leave out the images of classes that are not judged."""
    kept = torch.isin(one.labels, torch.tensor(judged))
    fields = ('labels', 'logits', 'start', 'features')
    return replace(one, **{name: getattr(one, name)[kept] for name in fields})


def said_together(root: Path, pupil: Pupil) -> runs_said.Said:
    """What the runs of a pupil say of the images that train."""
    kept = _kept(root, pupil)
    each = together([said(one, 'train') for one in kept])
    names = [str(number) for number in range(each.shape[1])]
    return runs_said.said_of(
        names, each, [one['train']['student']['feats'] for one in kept]
    )


def learning(
    root: Path, pupil: Pupil, labels: torch.Tensor, mnist: Path | None
) -> tuple[Config, accuracy.Members]:
    """Build the config of a student that learns labels, (N,)."""
    job = run_of(pupil, TOGETHER)
    cfg, members = accuracy.build_config(root, job, mnist, TOGETHER)
    cfg.model.label_loss = dict(type='LabelLoss')
    dataset = cfg.train_dataloader.dataset
    dataset.type = 'LabelledViews'
    dataset.known = list(enumerate(labels.tolist()))
    return cfg, members


def run(root: Path, pupil: Pupil, mnist: Path | None) -> dict:
    """Teach a student, and judge it beside its teachers.

    The student is kept, see :func:`student_of`.

    Returns:
        For each part the accuracies of :func:`choices`; ``taught``; and of
        the labels that teach, ``labels``.
    """
    begin = time.monotonic()
    labels = lesson(
        said_together(root, pupil), {}, uniform_prior(CLASSES)
    ).labels
    cfg, members = learning(root, pupil, labels, mnist)
    runner, _ = accuracy.quiet_runner(cfg)
    runner.train()
    logging.disable(logging.NOTSET)
    parts = accuracy.images_of(root, pupil.task, members)
    seen = {
        part: accuracy.predictions(runner.model, 'student', pixels)
        for part, (pixels, _) in parts.items()
    }
    kept_seen = seen['train']._asdict()
    save_tensors(
        dict(state_dict=runner.model.state_dict(), seen=kept_seen),
        student_of(root, pupil),
    )

    def right(labels: torch.Tensor, truth: torch.Tensor) -> float:
        return accuracy.judge(labels, truth, members.judged)['accuracy']

    found, kept = {}, _kept(root, pupil)
    for part, (_, truth) in parts.items():
        alone = [judged_alone(said(one, part), members.judged) for one in kept]
        taught = right(seen[part].labels, truth)
        found[part] = choices(alone) | dict(taught=taught)
    found['train']['labels'] = right(labels, members.labels)
    return dict(
        vars(pupil), **found, seconds=round(time.monotonic() - begin, 1)
    )


def student_of(root: Path, pupil: Pupil) -> Path:
    """File of a student that was taught, and what it makes of the images."""
    return root / 'taught' / f'{pupil.task}-{pupil.start}.pth'


def teach(
    root: Path, task: str, starts: Iterable[int], mnist: Path | None
) -> str:
    """Teach where there are enough teachers; return the table of all."""
    pupils = [Pupil(task, start) for start in starts]
    for pupil in pupils:
        if _files(root, pupil)[0].is_file():
            train_teachers(root, pupil, mnist)
    results = root / 'taught.jsonl'
    run_missing(
        [one for one in pupils if _all_there(root, one)],
        results,
        lambda pupil: run(root, pupil, mnist),
        lambda result: [
            f'{name} {value:.1f}' for name, value in result['val'].items()
        ],
    )
    return taught_table(read_results(results))


def taught_table(results: list[dict]) -> str:
    """Format means over starts, one line a task and part."""
    rows = []
    for task in sorted({one['task'] for one in results}):
        of_task = [one for one in results if one['task'] == task]
        for part in (*accuracy.JUDGED, 'train'):
            cells = [
                f'{mean(one[part][name] for one in of_task):.1f}'
                for name in of_task[0][part]
            ]
            rows.append([task, part, f'{len(of_task)}', *cells])
    names = list(results[0]['train']) if results else []
    wide = [row + [''] * (3 + len(names) - len(row)) for row in rows]
    return table(['task', 'part', 'starts', *names], wide)
