"""A student that several runs teach together, beside these runs.

Each training image has the label of the runs' mean; the student begins where
they began, and learns as the balanced setting does, with views of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from must_mm.evaluation.agreement import consensus

from ..accuracy import training as accuracy
from ..accuracy.trust import TOGETHER, Said, choices, said, together
from ..resumable import read_results, run_missing
from ..text import table
from .training import SETTING, with_labels


@dataclass(frozen=True)
class Lesson:
    """A student to be taught.

    Attributes:
        task: Name of the task.
        start: Seed of the start model, and of its teachers'.
    """

    task: str
    start: int


def teachers(root: Path, lesson: Lesson, part: str) -> list[Said]:
    """What the first runs from a start say of a part; none if too few."""
    jobs = [
        accuracy.Job(lesson.task, SETTING, lesson.start, draw)
        for draw in range(TOGETHER)
    ]
    files = [accuracy.predictions_of(root, job) for job in jobs]
    if not all(path.is_file() for path in files):
        return []
    return [said(torch.load(path, weights_only=True), part) for path in files]


def run(root: Path, lesson: Lesson, mnist: Path | None) -> dict:
    """Teach a student, and judge it beside its teachers.

    Returns:
        For each part the accuracies of :func:`choices`, and ``taught``.
    """
    begin = time.monotonic()
    labels = consensus(together(teachers(root, lesson, 'train'))).argmax(1)
    job = accuracy.Job(lesson.task, SETTING, lesson.start, TOGETHER)
    cfg, members = accuracy.build_config(root, job, mnist)
    with_labels(cfg, list(enumerate(labels.tolist())))
    runner, _ = accuracy.quiet_runner(cfg)
    runner.train()
    logging.disable(logging.NOTSET)
    parts = accuracy.images_of(root, lesson.task, members)
    found = {
        part: choices(teachers(root, lesson, part)) for part in accuracy.JUDGED
    }
    for part in accuracy.JUDGED:
        pixels, truth = parts[part]
        seen = accuracy.predictions(runner.model, 'student', pixels)
        judged = accuracy.judge(seen.labels, truth, members.judged)
        found[part]['taught'] = judged['accuracy']
    return dict(
        vars(lesson), **found, seconds=round(time.monotonic() - begin, 1)
    )


def teach(
    root: Path, task: str, starts: Iterable[int], mnist: Path | None
) -> str:
    """Teach where there are enough teachers; return the table of all."""
    lessons = [Lesson(task, start) for start in starts]
    results = root / 'taught.jsonl'
    run_missing(
        [one for one in lessons if teachers(root, one, 'val')],
        results,
        lambda lesson: run(root, lesson, mnist),
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
        for part in accuracy.JUDGED:
            cells = [
                f'{mean(one[part][name] for one in of_task):.1f}'
                for name in of_task[0][part]
            ]
            rows.append([task, part, f'{len(of_task)}', *cells])
    names = list(results[0][accuracy.JUDGED[0]]) if results else []
    return table(['task', 'part', 'starts', *names], rows)
