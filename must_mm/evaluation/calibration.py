"""How far confidences can be believed, with and without labels.

Probabilities are the softmax of logits divided by a temperature
(arXiv 1706.04599); above 1 it lowers what is said with too much confidence.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

#: Where temperatures are looked for.
COLDEST, HOTTEST = 0.05, 50.0
MIXED = 0.65  # share of the first image of a pair, as in PseudoCal


class Reliability(NamedTuple):
    """Confidence beside accuracy, for each bin of confidence.

    Attributes:
        confidence: Mean confidence of each bin, in [0, 1]; 0 if it is empty.
        accuracy: Share of right predictions, likewise.
        count: Images in it.
    """

    confidence: torch.Tensor
    accuracy: torch.Tensor
    count: torch.Tensor


def calibrated(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """``softmax(logits / temperature)`` of (N, K), in double precision."""
    return (logits.double() / temperature).softmax(dim=1)


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Find the temperature of the least cross-entropy.

    It is convex in the inverse of the temperature: where the expected logit
    equals the target's, by bisection.

    Args:
        logits: (N, K).
        targets: Classes (N,), or shares of classes (N, K).

    Returns:
        The temperature, between :data:`COLDEST` and :data:`HOTTEST`.

    Raises:
        ValueError: If there is no image.
    """
    if not len(logits):
        raise ValueError('a temperature cannot be fitted to no image')
    logits = logits.double()
    if targets.ndim == 1:
        aimed = logits.gather(1, targets[:, None])[:, 0]
    else:
        aimed = (logits * targets).sum(dim=1)

    def slope(temperature: float) -> float:
        expected = (calibrated(logits, temperature) * logits).sum(dim=1)
        return (expected - aimed).mean().item()

    low, high = COLDEST, HOTTEST
    for _ in range(50):
        middle = (low * high) ** 0.5
        # the colder, the larger the logit that is expected
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return (low * high) ** 0.5


def mixed_pairs(
    labels: torch.Tensor, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pair images that are given different classes.

    Args:
        labels: Predicted classes, (N,).
        generator: Draws the pairs.

    Returns:
        Indices of the first and of the second images, (M,) each; every image
        is a first one, unless all that are left over are of its class.
    """
    order = torch.randperm(len(labels), generator=generator)
    # sorted by class, half of the images on are of another class, unless
    # one class has more than half
    order = order[labels[order].argsort(stable=True)]
    other = order.roll(len(order) // 2)
    different = labels[order] != labels[other]
    return order[different], other[different]


def mix(
    first: torch.Tensor, second: torch.Tensor, share: float = MIXED
) -> torch.Tensor:
    """Blend images (M, 3, H, W): ``share`` of the first, the rest of others.

    What a classifier makes of such images is as uncertain as what it makes
    of real ones near its boundaries, and their class is known, as long as
    the prediction for the first ones is: PseudoCal's substitute for labels
    (arXiv 2307.07489).
    """
    return share * first + (1 - share) * second


def expected_calibration_error(
    probs: torch.Tensor, labels: torch.Tensor, bins: int = 15
) -> float:
    """Mean distance of confidence and accuracy, in [0, 1].

    Args:
        probs: (N, K).
        labels: True classes, (N,).
        bins: Intervals of confidence, of equal width.
    """
    curve = reliability(*top(probs, labels), bins)
    gaps = (curve.confidence - curve.accuracy).abs() * curve.count
    return (gaps.sum() / curve.count.sum()).item()


def top(
    probs: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Confidence of the predictions, and whether they are right, both (N,)."""
    confidence, predicted = probs.max(dim=1)
    return confidence, predicted == labels


def reliability(
    confidence: torch.Tensor, right: torch.Tensor, bins: int = 10
) -> Reliability:
    """Compare confidence with accuracy (arXiv 1706.04599, Fig. 1).

    Args:
        confidence: (N,), in [0, 1].
        right: (N,), booleans.
        bins: Intervals of confidence, of equal width.
    """
    confidence = confidence.double()
    index = (confidence * bins).long().clamp(max=bins - 1)
    count = torch.bincount(index, minlength=bins)

    def mean(values: torch.Tensor) -> torch.Tensor:
        total = torch.bincount(index, values.double(), minlength=bins)
        return total / count.clamp(min=1)

    return Reliability(mean(confidence), mean(right), count)


def brier_score(probs: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean squared distance of probabilities and truth, in [0, 2].

    Args:
        probs: (N, K).
        labels: True classes, (N,).
    """
    truth = F.one_hot(labels, probs.shape[1])
    return (probs - truth).pow(2).sum(dim=1).mean().item()


def area_under_risk_coverage(
    confidence: torch.Tensor, right: torch.Tensor
) -> float:
    """Mean error rate of the most confident 1, 2, ... N images, in [0, 1].

    Low where wrong predictions are the least confident ones; temperatures
    change it only by changing the order (arXiv 1805.08206).

    Args:
        confidence: (N,), of any scale.
        right: (N,), booleans.
    """
    order = confidence.argsort(descending=True, stable=True)
    errors = (~right[order]).double().cumsum(0)
    return (errors / torch.arange(1, len(errors) + 1)).mean().item()
