"""How frequent classes are, from predictions and a few labels.

Which images are labelled may depend on anything that a classifier sees in
them, as where doubtful ones were chosen, so that their classes are no sample
of all. But given the image the label is one: a classifier's logits can be
corrected on them, by one number for each class, and the mean of what it then
says of all images is the estimate. The correction is that of bias-corrected
temperature scaling (Alexandari et al., arXiv 1901.06852), the temperature
being known, and a normal distribution holding it to zero where labels are
few.
"""

from typing import NamedTuple

import torch

STEPS = 50
#: Times its own noise by which an estimate differs from what it replaces.
CLEARLY = 2.0


class Estimate(NamedTuple):
    """Shares of the classes.

    Attributes:
        shares: (K,), positive, of sum 1.
        noise: How far they may be off because labels are few: the expected
            total variation distance, in [0, 1].
    """

    shares: torch.Tensor
    noise: float


def _posterior(
    logits: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Most probable bias (K,) and its covariance (K, K), by Newton's method.

    The logarithm of the posterior, ``sum_i log softmax(z_i + b)[y_i] -
    |b|^2 / 2``, is concave.
    """
    count, classes = logits.shape
    identity = torch.eye(classes).to(logits)
    bias = logits.new_zeros(classes)
    seen = torch.bincount(labels, minlength=classes)
    for _ in range(STEPS):
        probs = (logits + bias).softmax(dim=1)
        slope = seen - probs.sum(dim=0) - bias
        curve = probs.sum(dim=0).diag() - probs.T @ probs + identity
        step = torch.linalg.solve(curve, slope)
        # a step of Newton's may be too far where labels surprise
        bias = bias + step.clamp(-1, 1)
        if step.abs().max() < 1e-9:
            break
    return bias, torch.linalg.inv(curve)


def estimate_shares(
    logits: torch.Tensor, known: torch.Tensor, labels: torch.Tensor
) -> Estimate:
    """Estimate the share of each class.

    Args:
        logits: Calibrated, of all images, (N, K).
        known: Indices of those with a label, (M,).
        labels: Their classes, (M,).

    Returns:
        The shares; one image more is counted for each class, so that none is
        given up.
    """
    logits = logits.double()
    count, classes = logits.shape
    bias, covariance = _posterior(logits[known], labels)
    probs = (logits + bias).softmax(dim=1)
    probs[known] = torch.eye(classes).to(probs)[labels]
    shares = (probs.sum(dim=0) + 1) / (count + classes)
    # of the mean prediction by the bias: known images do not move
    moved = probs.sum(dim=0).diag() - probs.T @ probs
    moved = moved / (count + classes)
    deviation = (moved @ covariance @ moved).diag().clamp(min=0).sqrt()
    # the mean of the absolute value of a normal variable
    noise = (deviation * (2 / torch.pi) ** 0.5).sum() / 2
    return Estimate(shares, noise.item())


def clearly_other(estimate: Estimate, shares: torch.Tensor) -> bool:
    """Whether an estimate differs from shares (K,) by more than its noise."""
    distance = (estimate.shares - shares.to(estimate.shares)).abs().sum() / 2
    return distance.item() > CLEARLY * estimate.noise
