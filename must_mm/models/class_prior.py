"""The share of each class: stated, uniform, or estimated."""

from collections.abc import Sequence

import torch

from ..utils.validation import check_number, check_type


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


def estimate_prior(
    probs: torch.Tensor,
    classes: torch.Tensor,
    num_classes: int,
    pseudo_count: float = 1.0,
    steps: int = 100,
) -> torch.Tensor:
    """Estimate the share of each class from predictions without labels.

    Expectation-maximisation after Saerens et al. ("Adjusting the outputs of
    a classifier to new a priori probabilities", Neural Computation 14, 2002,
    Eq. 2.9), for a classifier that takes all classes for equally frequent:
    the posteriors are reweighted with the estimate, and their mean is the
    next one. ``pseudo_count`` images are added to each class, so that none
    is given up.

    Args:
        probs: Probabilities of the k most probable classes of N images,
            (N, k).
        classes: These classes, (N, k).
        num_classes: Number of classes ``K``.
        pseudo_count: Images added to each class, not negative.
        steps: Steps of the iteration.

    Returns:
        Shares of sum 1, (K,).
    """
    prior = uniform_prior(num_classes).to(probs)
    total = len(probs) + num_classes * pseudo_count
    for _ in range(steps):
        posterior = probs * prior[classes]
        posterior /= posterior.sum(dim=1, keepdim=True)
        counts = torch.zeros_like(prior).index_add(
            0, classes.flatten(), posterior.flatten()
        )
        prior = (counts + pseudo_count) / total
    return prior
