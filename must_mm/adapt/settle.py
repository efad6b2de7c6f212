"""What a config leaves open until the start has seen the images."""

from collections.abc import Mapping
from dataclasses import replace

from .plan import ESTIMATED
from .predict import REJECTED, Seen
from .preparation import Job
from .prior_from_labels import asks_labels, prior_from_labels, set_prior
from .settings import threshold


def settle(
    job: Job, start: Seen, corrected: Seen | None, notes: Mapping[str, str]
) -> Job:
    """Set the threshold, and the prior that labels speak for.

    Args:
        job: The run; its config is changed in place.
        start: What the start made of the images.
        corrected: The same of the result that is corrected, if one is.
        notes: What is to be said of single images.

    Returns:
        The job, with other words where the prior is another.
    """
    if not job.task.config:
        probs = start.probabilities[start.there]
        confidences = probs.max(dim=1).values
        job.cfg.model.head.threshold = threshold(confidences.tolist())
    if not asks_labels(job):
        return job
    rejected = {name for name, note in notes.items() if note == REJECTED}
    shares = prior_from_labels(job, corrected or start, rejected)
    if shares is None:
        return job
    set_prior(job.cfg, shares)
    said = {'class prior': ESTIMATED}
    return replace(job, words=job.words | said)
