"""How far estimates of the classes' shares are off, from what is kept of runs.

Everything is computed from what the start said of the training images
(``training.keep_predictions``); labels only judge.
"""

from __future__ import annotations

from pathlib import Path

import torch

from must_mm.models.class_prior import uniform_prior
from must_mm.models.neighbour_prior import (
    NEIGHBOURS,
    nearest_others,
    neighbour_prior,
    shift_by_neighbours,
)

from ..text import table
from .tasks import CLASSES, TASKS
from .training import Job, predictions_of

SETTING = 'balanced'


def by_expectation(logits: torch.Tensor, steps: int = 100) -> torch.Tensor:
    """Shares by expectation-maximisation (Saerens et al. 2002, Eq. 2.9)."""
    probs, prior = logits.softmax(dim=1), uniform_prior(logits.shape[1])
    for _ in range(steps):
        posterior = probs * prior
        prior = (posterior / posterior.sum(dim=1, keepdim=True)).mean(dim=0)
    return prior


def estimates(logits: torch.Tensor, feats: torch.Tensor) -> dict:
    """Shares by name, (K,) each, from (N, K) and (N, E)."""
    return {
        'even': uniform_prior(logits.shape[1]),
        "the start's own labels": torch.bincount(
            logits.argmax(dim=1), minlength=logits.shape[1]
        )
        / len(logits),
        'expectation-maximisation': by_expectation(logits),
        'where neighbours stop': neighbour_prior(logits, feats),
    }


def off(shares: torch.Tensor, labels: torch.Tensor) -> float:
    """Total variation distance from the shares of the labels."""
    true = torch.bincount(labels, minlength=len(shares)) / len(labels)
    return (shares - true).abs().sum().item() / 2


def report(root: Path) -> str:
    """A line an estimate, a column a task: its range over starts."""
    found: dict[str, dict[str, list[float]]] = {}
    parts: dict[str, list[float]] = {}
    for task in TASKS:
        for start in range(5):
            path = predictions_of(root, Job(task, SETTING, start, 0))
            if not path.is_file():
                continue
            kept = torch.load(path, weights_only=True)['train']
            logits = kept['start']['logits'].float()
            feats = kept['start']['feats'].float()
            for name, shares in estimates(logits, feats).items():
                row = found.setdefault(name, {})
                row.setdefault(task, []).append(off(shares, kept['labels']))
            _, near = nearest_others(feats, NEIGHBOURS)
            even = uniform_prior(CLASSES)
            part, _ = shift_by_neighbours(logits, near, even)
            parts.setdefault(task, []).append(part)

    def cell(values: list[float], digits: int) -> str:
        ends = sorted(
            {f'{min(values):.{digits}f}', f'{max(values):.{digits}f}'}
        )
        return '–'.join(ends)

    rows = [
        [name, *(cell(row[task], 2) for task in parts)]
        for name, row in found.items()
    ]
    rows.append(
        ['part of the shift that neighbours allow']
        + [cell(values, 1) for values in parts.values()]
    )
    counts = [f'{task} ({len(values)})' for task, values in parts.items()]
    return table(['shares', *counts], rows)
