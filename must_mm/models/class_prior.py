"""The share of each class, and the shift of logits that leads to it."""

from collections.abc import Sequence

import torch

from ..utils.validation import check_number, check_type

#: Means below are taken for it: no class is multiplied without bound.
SMALLEST_MEAN = 1e-6


def uniform_prior(num_classes: int) -> torch.Tensor:
    """Return equal shares, (K,)."""
    return torch.full((num_classes,), 1 / num_classes)


def class_prior(
    key: str, shares: Sequence[float] | None, num_classes: int
) -> torch.Tensor | None:
    """Check the shares of the classes, positive and of sum 1.

    Args:
        key: Config key, named in errors.
        shares: One for each class; ``None`` is none.
        num_classes: Number of classes ``K``.

    Raises:
        TypeError: If they are not a list.
        ValueError: If they are not a distribution over the classes.
    """
    if shares is None:
        return None
    check_type(key, shares, list, tuple)
    for share in shares:
        check_number(key, share, '(0, 1)')
    if len(shares) != num_classes or abs(sum(shares) - 1) > 1e-4:
        raise ValueError(
            f'{key} must be {num_classes} positive shares of sum 1, got '
            f'{shares}'
        )
    return torch.tensor(shares, dtype=torch.float32)


def balancing_shift(
    log_probs: torch.Tensor,
    prior: torch.Tensor,
    shift: torch.Tensor,
    steps: int,
) -> torch.Tensor:
    """Solve ``mean_n softmax(log q_n + b) = prior`` for the shift ``b``.

    By the fixed point ``b <- b + log prior - log mean``; every step brings
    the mean closer to the prior.

    Args:
        log_probs: Logarithms of N predictions ``q``, or their logits, (N, K).
        prior: Share of each class, (K,).
        shift: Where to begin, (K,).
        steps: Steps of the iteration.

    Returns:
        The shift, (K,), of mean 0.
    """
    for _ in range(steps):
        mean = (log_probs + shift).softmax(dim=1).mean(dim=0)
        shift = shift + prior.log() - mean.clamp(min=SMALLEST_MEAN).log()
        shift = shift - shift.mean()
    return shift
