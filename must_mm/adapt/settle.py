"""What a config leaves open until the start has seen the images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TextIO

from .predict import Seen
from .preparation import Job
from .result import NONE, REJECTED
from .settings import threshold
from .shares import asks_shares, estimated_shares, set_prior

SHOWN = 5  # of the largest shares


def settle(
    job: Job,
    start: Seen,
    corrected: Seen | None,
    notes: Mapping[str, str],
    screen: TextIO,
) -> Job:
    """Set the threshold, and shares of the classes that nobody has stated.

    Args:
        job: The run; its config is changed in place.
        start: What the start made of the images.
        corrected: The same of the result that is corrected, if one is.
        notes: What is to be said of single images.
        screen: Where to say which shares are taken.

    Returns:
        The job, with words about the shares.
    """
    if not job.task.config:
        probs = start.probabilities[start.there]
        confidences = probs.max(dim=1).values
        job.cfg.model.head.threshold = threshold(confidences.tolist())
    if not asks_shares(job):
        return job
    left_out = {n for n, note in notes.items() if note in (REJECTED, NONE)}
    shares, why = estimated_shares(job, start, corrected, left_out)
    if shares is not None:
        set_prior(job.cfg, shares)
        why += f': {in_words(shares, job.task.classes)}'
    print(f'class prior: {why}', file=screen, flush=True)
    return replace(job, words=job.words | {'class prior': why})


def in_words(shares: Sequence[float], classes: Sequence[str]) -> str:
    """Say the largest shares, and what is left for the others."""
    order = sorted(range(len(shares)), key=lambda k: -shares[k])
    parts = [f'{classes[k]} {100 * shares[k]:.0f} %' for k in order[:SHOWN]]
    if len(order) > SHOWN:
        rest = 100 * sum(shares[k] for k in order[SHOWN:])
        parts.append(f'{len(order) - SHOWN} others {rest:.0f} %')
    return ', '.join(parts)
