"""How far runs can be believed: tables from what they said of all images.

Everything is computed from the files that ``training.keep_predictions``
writes; labels only judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from must_mm.evaluation.agreement import consensus, disagreement, spokesman
from must_mm.evaluation.calibration import (
    area_under_risk_coverage,
    brier_score,
    calibrated,
    expected_calibration_error,
    fit_temperature,
    top,
)
from must_mm.models.neighbour_prior import NEIGHBOURS, nearest_others

from ..text import table

TOGETHER = 3  # runs that are asked together, as must-adapt does by default
CLOSE = 5.0  # points


@dataclass(frozen=True)
class Said:
    """What start and student of one run say of the N images of a part.

    Attributes:
        labels: True classes, (N,).
        logits: Of the student, (N, K).
        temperature: By which they are divided, from blends.
        start: Labels of the start, (N,).
        features: Of the start, (N, E).
    """

    labels: torch.Tensor
    logits: torch.Tensor
    temperature: float
    start: torch.Tensor
    features: torch.Tensor

    @property
    def raw(self) -> torch.Tensor:
        """Probabilities as the student says them, (N, K)."""
        return calibrated(self.logits, 1.0)

    @property
    def probs(self) -> torch.Tensor:
        """Calibrated ones, (N, K)."""
        return calibrated(self.logits, self.temperature)


def said(kept: dict, part: str) -> Said:
    """Read a part of a file, without images of classes that do not train."""
    student, start = kept[part]['student'], kept[part]['start']
    labels = kept[part]['labels']
    judged = torch.isin(labels, kept['train']['labels'].unique())
    blends = kept['train']['student']
    found = 1.0
    if len(blends['mixed']):
        found = fit_temperature(
            blends['mixed'].float(), blends['mixed_labels'].long()
        )
    return Said(
        labels[judged],
        student['logits'].float()[judged],
        max(1.0, found),
        start['logits'][judged].float().argmax(dim=1),
        start['feats'].float()[judged],
    )


Group = tuple[str, str, str]  # task, setting, start


def read_runs(root: Path, part: str) -> dict[Group, list[Said]]:
    """All runs of a data folder, those of one start together."""
    found: dict[Group, list[Said]] = {}
    for path in sorted((root / 'predictions').glob('*.pt')):
        group, _, _draw = path.stem.rpartition('-')
        rest, _, start = group.rpartition('-')
        task, setting = _task_and_setting(rest)
        kept = torch.load(path, weights_only=True)
        one = said(kept, part)
        found.setdefault((task, setting, start), []).append(one)
    return found


def _task_and_setting(name: str) -> tuple[str, str]:
    """Both have dashes in their names."""
    from .tasks import TASKS

    task = max((t for t in TASKS if name.startswith(f'{t}-')), key=len)
    return task, name.removeprefix(f'{task}-')


def accuracy(probs: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of right predictions, in per cent."""
    return 100 * (probs.argmax(dim=1) == labels).double().mean().item()


def same_images(runs: Sequence[Said]) -> bool:
    """Whether runs can be asked together: they saw the same images."""
    return len(runs) > 1 and all(
        torch.equal(run.labels, runs[0].labels) for run in runs
    )


def together(runs: Sequence[Said]) -> torch.Tensor:
    """Calibrated probabilities of several runs, (R, N, K)."""
    return torch.stack([run.probs for run in runs])


# ---------------------------------------------------------------- confidence


def by_agreement(runs: Sequence[Said]) -> list[float]:
    """Temperature of each run, fitted to what the other runs say."""
    every = torch.stack([run.raw for run in runs])
    found = []
    for number, run in enumerate(runs):
        others = [k for k in range(len(runs)) if k != number]
        labels = consensus(every[others]).argmax(dim=1)
        found.append(max(1.0, fit_temperature(run.logits, labels)))
    return found


def quality(probs: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """ECE in per cent, Brier score, and AURC in per cent."""
    return [
        100 * expected_calibration_error(probs, labels),
        brier_score(probs, labels),
        100 * area_under_risk_coverage(*top(probs, labels)),
    ]


def confidences(groups: Iterable[Sequence[Said]]) -> dict[str, list[float]]:
    """Quality of each kind of confidence, averaged over runs.

    Args:
        groups: Runs of one start each.

    Returns:
        By kind :func:`quality`; several runs count where there are some.
    """
    found: dict[str, list[list[float]]] = {}

    def add(kind: str, probs: torch.Tensor, labels: torch.Tensor) -> None:
        found.setdefault(kind, []).append(quality(probs, labels))

    for runs in groups:
        for run in runs:
            add('raw', run.raw, run.labels)
            add('blends', run.probs, run.labels)
        if same_images(runs):
            some = runs[:TOGETHER]
            for run, t in zip(some, by_agreement(some), strict=True):
                add('agreement', calibrated(run.logits, t), run.labels)
            add('mean of runs', consensus(together(some)), some[0].labels)
    return {
        kind: [mean(column) for column in zip(*rows, strict=True)]
        for kind, rows in found.items()
    }


# ------------------------------------------------------------------ estimates


def mean_confidence(probs: torch.Tensor) -> float:
    """In per cent."""
    return 100 * probs.max(dim=1).values.mean().item()


def neighbours_agree(run: Said) -> float:
    """How often neighbours, as the start sees them, have one class."""
    labels = run.logits.argmax(dim=1)
    _, near = nearest_others(run.features, NEIGHBOURS)
    return 100 * (labels[near] == labels[:, None]).double().mean().item()


def runs_agree(runs: Sequence[Said]) -> float:
    """How often two runs say the same, over all pairs (arXiv 2106.13799)."""
    labels = torch.stack([run.logits.argmax(dim=1) for run in runs])
    return 100 - 100 * disagreement(labels)


#: Of one run, and of several that are asked together.
ALONE: dict[str, Callable[[Said], float]] = {
    'confidence': lambda run: mean_confidence(run.raw),
    'calibrated confidence': lambda run: mean_confidence(run.probs),
    'neighbours agree': neighbours_agree,
    'confidence and neighbours': lambda run: (
        (mean_confidence(run.probs) + neighbours_agree(run)) / 2
    ),
}
SEVERAL: dict[str, Callable[[Sequence[Said]], float]] = {
    'runs agree': runs_agree,
    'confidence of their mean': lambda runs: mean_confidence(
        consensus(together(runs))
    ),
    'both': lambda runs: (
        (runs_agree(runs) + mean_confidence(consensus(together(runs)))) / 2
    ),
}


def estimates(
    groups: Iterable[Sequence[Said]],
) -> dict[str, list[float]]:
    """Estimate minus truth, in points, for every estimator and run."""
    found: dict[str, list[float]] = {}
    for runs in groups:
        for run in runs:
            truth = accuracy(run.logits, run.labels)
            for name, estimate in ALONE.items():
                found.setdefault(name, []).append(estimate(run) - truth)
        if same_images(runs):
            some = runs[:TOGETHER]
            truth = accuracy(consensus(together(some)), some[0].labels)
            for name, of_several in SEVERAL.items():
                error = of_several(some) - truth
                found.setdefault(name, []).append(error)
    return found


def error_row(errors: Sequence[float]) -> list[str]:
    """Runs, mean, mean size, worst error, and how many are close."""
    size = [abs(error) for error in errors]
    close = sum(one <= CLOSE for one in size)
    return [
        f'{len(errors)}',
        f'{mean(errors):+.1f}',
        f'{mean(size):.1f}',
        f'{max(errors, key=abs):+.1f}',
        f'{100 * close / len(size):.0f} %',
    ]


# -------------------------------------------------------------------- choice


def choices(runs: Sequence[Said]) -> dict[str, float]:
    """Accuracy of the average run, of the chosen one, of the mean of all."""
    some = runs[:TOGETHER]
    probs, labels = together(some), some[0].labels
    each = [accuracy(run.logits, labels) for run in some]
    return {
        'average run': mean(each),
        'chosen run': each[spokesman(probs)],
        'mean of runs': accuracy(consensus(probs), labels),
        'best run': max(each),
    }


# -------------------------------------------------------------------- tables


def report(groups: dict[Group, list[Said]]) -> str:
    """All tables of one part."""
    by: dict[tuple[str, str], list[list[Said]]] = {}
    for (task, setting, _), runs in groups.items():
        by.setdefault((task, setting), []).append(runs)
    sure, right, chosen = [], [], []
    for (task, setting), of_starts in sorted(by.items()):
        for kind, values in confidences(of_starts).items():
            ece, brier, aurc = values
            sure.append(
                [task, setting, kind]
                + [f'{ece:.1f}', f'{brier:.3f}', f'{aurc:.2f}']
            )
        for name, errors in estimates(of_starts).items():
            right.append([task, setting, name, *error_row(errors)])
        several = [choices(runs) for runs in of_starts if same_images(runs)]
        if several:
            means = [mean(row[k] for row in several) for k in several[0]]
            chosen.append(
                [task, setting, f'{len(several)}']
                + [f'{value:.1f}' for value in means]
            )
    together_rows = [
        [setting, name, *error_row(errors)]
        for setting in sorted({setting for _, setting in by})
        for name, errors in estimates(
            runs for group, runs in groups.items() if group[1] == setting
        ).items()
    ]
    error = ['runs', 'mean error', 'mean size', 'worst', f'within {CLOSE:g}']
    return '\n\n'.join(
        [
            table(
                ['task', 'setting', 'confidence', 'ECE', 'Brier', 'AURC'],
                sure,
            ),
            table(['task', 'setting', 'estimate', *error], right),
            table(['setting', 'estimate, all tasks', *error], together_rows),
            table(
                ['task', 'setting', 'starts', 'average run', 'chosen run']
                + ['mean of runs', 'best run'],
                chosen,
            ),
        ]
    )
