"""The class prior that labels given by a person speak for."""

from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from mmengine.config import Config

from ..evaluation.class_shares import clearly_other, estimate_shares
from .predict import Seen
from .preparation import Job
from .trust import temperature_of
from .written_config import load_config


def stated_prior(cfg: Config) -> Sequence[float] | None:
    """The shares that a config trains towards; ``None`` if they are even."""
    return (cfg.model.head.get('fairness') or {}).get('prior')


def set_prior(cfg: Config, shares: list[float]) -> None:
    """Let a config train towards these shares."""
    cfg.model.head.fairness.prior = shares
    alignment = (cfg.model.get('pseudo_labels') or {}).get('alignment')
    if alignment:
        alignment.prior = shares


def asks_labels(job: Job) -> bool:
    """Whether the prior is the labels' to say.

    There are some, no shares were stated, and something follows them.
    """
    options = job.task.options
    fairness = job.cfg.model.head.get('fairness') or {}
    return (
        bool(job.known.labels)
        and options.class_prior is None
        and fairness.get('loss_weight', 1) > 0
        and not fairness.get('prior')
    )


def prior_from_labels(
    job: Job, seen: Seen, leave_out: Collection[str]
) -> list[float] | None:
    """Estimate the shares of the classes, where that is safe.

    The estimate counts if it differs from the prior of before by twice of
    what it may be off.

    Args:
        job: The run, for which :func:`asks_labels` holds.
        seen: What the result that the run goes on from makes of the images,
            else the start.
        leave_out: Names of images that do not train.

    Returns:
        The shares; ``None`` for even ones.
    """
    before, after = None, job.task.options.after
    if after:
        before = stated_prior(load_config(Path(after) / 'config.py'))
    names, there = job.images.names, seen.there.tolist()
    used = [
        i for i, name in enumerate(names) if there[i] and name not in leave_out
    ]
    known = [
        (place, job.known.labels[names[i]])
        for place, i in enumerate(used)
        if names[i] in job.known.labels
    ]
    if not known:
        return before
    places, labels = map(torch.tensor, zip(*known, strict=True))
    logits = seen.logits[used] / temperature_of(seen)
    found = estimate_shares(logits, places, labels)
    even = torch.full_like(found.shares, 1 / len(found.shares))
    base = even if before is None else torch.tensor(before)
    return found.shares.tolist() if clearly_other(found, base) else before
