"""What a result says of itself: how sure, what is strange, what to ask."""

from collections.abc import Collection, Sequence

import torch

from ..evaluation import calibration, duplicates, outliers
from ..evaluation.selection import choose_for_review
from .lesson import Lesson
from .predict import Seen
from .result import Bins, Prediction, ToReview, Trust

GUESSES = 3
STRANGE = 60  # the strangest images, which the report shows the first of


def temperature_of(seen: Seen) -> float:
    """The temperature that fits blends of images, 1 at least.

    Without blends, as when all images are given one class, it is 1: the
    confidences stay as they are, and a warning says that classes are lost.
    """
    if not len(seen.mixed):
        return 1.0
    found = calibration.fit_temperature(seen.mixed, seen.mixed_labels)
    return max(1.0, round(found, 3))


def ranks(scores: torch.Tensor) -> torch.Tensor:
    """Share of the scores that are lower, (N,), in [0, 1)."""
    order = scores.argsort(stable=True).argsort(stable=True)
    return order.double() / len(scores)


def strangeness(start: Seen) -> torch.Tensor:
    """How little images look like any class, by rank, (N,), in [0, 1).

    By the distance to the nearest images, as the start sees them: of the
    scores that were tried it finds the most such images (docs/adapt.md, "How
    sure"), and self-training, which pulls everything to a class, has no part
    in it.
    """
    return ranks(outliers.neighbour_distance(start.features))


def rejected(start: Seen, share: float) -> set[int]:
    """Indices of the strangest images, a share of all."""
    count = round(share * len(start.logits))
    scores = strangeness(start)
    return set(scores.argsort(descending=True)[:count].tolist())


def reliability(
    probs: torch.Tensor, labels: Sequence[int], classes: Sequence[str]
) -> list[Bins]:
    """Compare confidence with accuracy on labelled images.

    Args:
        probs: (N, K), calibrated.
        labels: True classes.
        classes: Class names.

    Returns:
        Of all classes together, then of each that is predicted.
    """
    confidence, right = calibration.top(probs, torch.tensor(labels))
    predicted = probs.argmax(dim=1)
    found = [_bins('all classes', confidence, right)]
    for k, name in enumerate(classes):
        own = predicted == k
        if own.any():
            found.append(_bins(name, confidence[own], right[own]))
    return found


def _bins(name: str, confidence: torch.Tensor, right: torch.Tensor) -> Bins:
    curve = calibration.reliability(confidence, right)
    filled = curve.count > 0
    return Bins(name, *(part[filled].tolist() for part in curve))


def trust_of(
    found: Sequence[Prediction],
    start: Seen,
    probs: torch.Tensor,
    lesson: Lesson,
    temperature: float,
    runs: int,
    count: int,
    leave_out: Collection[str] = (),
) -> Trust:
    """What to say of a result without labels.

    Args:
        found: The predictions, N.
        start: What the start made of the images.
        probs: Calibrated probabilities, (N, K).
        lesson: What images are to be called by what runs and neighbours say.
        temperature: Of the exported network.
        runs: How many runs there were.
        count: Images to ask for.
        leave_out: Names of images that are not asked for.
    """
    copies = duplicates.near_duplicates(start.copies.float())
    strange = torch.tensor([p.strangeness for p in found])
    places = {p.name: i for i, p in enumerate(found)}
    extra = {found[i].name for i in duplicates.extra_copies(copies)}
    asked = places.keys() - extra - set(leave_out)
    chosen = choose_for_review(
        lesson.graph,
        lesson.doubt,
        count,
        [i for i, name in enumerate(lesson.names) if name not in asked],
    )
    review = [places[lesson.names[i]] for i in chosen]
    best = probs.topk(min(GUESSES, probs.shape[1]), dim=1).indices
    strangers = [
        found[i]
        for i in strange.argsort(descending=True).tolist()
        if strange[i] > 0 and not found[i].by_hand
    ]
    return Trust(
        temperature=temperature,
        runs=runs,
        review=[ToReview(found[i], best[i].tolist()) for i in review],
        strangers=strangers[:STRANGE],
        duplicates=[[found[i] for i in group] for group in copies],
    )


def calibrated_runs(
    seen: Sequence[Seen], temperatures: Sequence[float]
) -> torch.Tensor:
    """Calibrated probabilities of several runs, (R, N, K)."""
    return torch.stack(
        [
            calibration.calibrated(one.logits, t)
            for one, t in zip(seen, temperatures, strict=True)
        ]
    )
