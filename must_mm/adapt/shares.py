"""The shares of the classes, where nobody has stated them."""

from collections.abc import Collection, Sequence

import torch
from mmengine.config import Config

from ..evaluation.class_shares import clearly_other, estimate_shares
from ..models.balanced_labels import PER_CLASS
from ..models.class_prior import uniform_prior
from ..models.neighbour_prior import neighbour_prior
from ..models.pseudo_labels import SAMPLE
from .config_parts import stated_prior
from .names import AUTO
from .predict import Seen
from .preparation import Job
from .trust import temperature_of
from .written_config import load_config

FROM_NEIGHBOURS = 'estimated from the start and its neighbours'
FROM_LABELS = 'estimated from the labels'


def set_prior(cfg: Config, shares: list[float]) -> None:
    """Let a config train towards these shares."""
    cfg.model.head.fairness.prior = shares
    alignment = (cfg.model.get('pseudo_labels') or {}).get('alignment')
    if alignment:
        alignment.prior = shares


def asks_shares(job: Job) -> bool:
    """Whether shares are to be estimated.

    None were stated and there are labels, or that is what was asked for; and
    something follows them.
    """
    options = job.task.options
    wanted = options.class_prior is None and job.known.labels
    fairness = job.cfg.model.head.get('fairness') or {}
    return (
        bool(wanted or options.class_prior == AUTO)
        and fairness.get('loss_weight', 1) > 0
        and not fairness.get('prior')
    )


def from_neighbours(job: Job, start: Seen, used: Sequence[int]) -> list | None:
    """Estimate the shares from the start; ``None`` for even ones.

    Args:
        job: The run.
        start: What the start made of the images.
        used: Places of the images that train.
    """
    draws = torch.Generator().manual_seed(job.task.options.seed)
    count = max(SAMPLE, PER_CLASS * len(job.task.classes))
    some = torch.tensor(used)[torch.randperm(len(used), generator=draws)]
    some = some[:count]
    found = neighbour_prior(start.logits[some], start.features[some])
    even = torch.allclose(found, uniform_prior(len(found)))
    return None if even else found.tolist()


def from_labels(
    job: Job, seen: Seen, used: Sequence[int], before: list | None
) -> list[float] | None:
    """Estimate the shares from labels, where that is safe.

    The estimate counts if it differs from the shares of before by twice of
    what it may be off.

    Args:
        job: The run.
        seen: What the result that the run goes on from makes of the images,
            else the start.
        used: Places of the images that train.
        before: The shares of before; ``None`` for even ones.

    Returns:
        The shares; ``None`` for even ones.
    """
    names, labels = job.images.names, job.known.labels
    known = [
        (place, labels[names[i]])
        for place, i in enumerate(used)
        if names[i] in labels
    ]
    if not known:
        return before
    places, labels = map(torch.tensor, zip(*known, strict=True))
    logits = seen.logits[used] / temperature_of(seen)
    found = estimate_shares(logits, places, labels)
    even = torch.full_like(found.shares, 1 / len(found.shares))
    base = even if before is None else torch.tensor(before)
    return found.shares.tolist() if clearly_other(found, base) else before


def estimated_shares(
    job: Job, start: Seen, corrected: Seen | None, leave_out: Collection[str]
) -> tuple[list[float] | None, str]:
    """Estimate the shares that a run trains towards.

    Args:
        job: The run, for which :func:`asks_shares` holds.
        start: What the start made of the images.
        corrected: The same of the result that is corrected, if one is.
        leave_out: Names of images that do not train.

    Returns:
        The shares, ``None`` for even ones, and where they come from.
    """
    options, seen = job.task.options, corrected or start
    there = seen.there.tolist()
    used = [
        i
        for i, name in enumerate(job.images.names)
        if there[i] and name not in leave_out
    ]
    if options.after_folder:
        config = load_config(options.after_folder / 'config.py')
        shares, why = stated_prior(config), 'as before'
    elif options.class_prior == AUTO:
        shares, why = from_neighbours(job, start, used), FROM_NEIGHBOURS
    else:
        shares, why = None, 'uniform'
    if job.known.labels:
        better = from_labels(job, seen, used, shares)
        if better != shares:
            return better, FROM_LABELS
    return shares, why if shares else 'uniform'
