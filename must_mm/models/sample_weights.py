"""How much each pseudo-label teaches, by the teacher's confidence.

One fixed threshold suits neither the beginning, when a teacher is unsure, nor
the end, when it is sure of nearly everything. The rules here follow the
confidence instead.
"""

import torch
import torch.nn as nn
from mmpretrain.registry import MODELS

from ..utils.distributed import gather
from ..utils.validation import check_integer, check_number
from .start_predictions import StartStatistics


def truncated_gaussian(
    confidence: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    sharpness: float = 2.0,
) -> torch.Tensor:
    """Weight 1 from the mean confidence on, a Gaussian's flank below it.

    SoftMatch (Chen et al., arXiv 2301.10921, Eq. 6), with the variance
    divided by the square of ``sharpness`` as in its code.

    Args:
        confidence: ``max q``, (B,).
        mean: Mean confidence, a scalar.
        variance: Its variance, a scalar.
        sharpness: Standard deviations below the mean at which a weight has
            fallen as far as a Gaussian falls at its square.

    Returns:
        Weights in [0, 1], (B,).
    """
    below = (confidence - mean).clamp(max=0)
    # all are equally confident: nothing is below the mean
    tiny = torch.finfo(below.dtype).tiny
    flank = (2 * variance / sharpness**2).clamp(min=tiny)
    return torch.exp(-below.pow(2) / flank)


class _FollowsConfidence(nn.Module):
    """The running mean of the confidence, and how a batch moves it."""

    def __init__(self, num_classes: int, momentum: float) -> None:
        super().__init__()
        key = 'model.pseudo_labels.weights'
        check_integer(f'{key}.num_classes', num_classes, at_least=2)
        check_number(f'{key}.momentum', momentum, '[0, 1)')
        self.momentum = momentum
        # without a look at the start: the confidence of a guess
        self.register_buffer('mean', torch.tensor(1 / num_classes))

    def begin(self, start: StartStatistics) -> None:
        """Take the statistics from the start."""
        self.mean.copy_(start.confidence.mean())

    def follow(self, confidence: torch.Tensor) -> torch.Tensor:
        """Move the mean; return the confidences of all ranks."""
        everywhere = gather(confidence)
        self.mean.lerp_(everywhere.mean(), 1 - self.momentum)
        return everywhere


@MODELS.register_module()
class TruncatedGaussianWeights(_FollowsConfidence):
    """SoftMatch's weights: :func:`truncated_gaussian` of running statistics.

    Args:
        num_classes: Number of classes ``K``.
        momentum: Weight of the past in mean and variance, in [0, 1).
        sharpness: See :func:`truncated_gaussian`, positive.

    Raises:
        ValueError: If a value is out of its range.
    """

    def __init__(
        self, num_classes: int, momentum: float = 0.99, sharpness: float = 2.0
    ) -> None:
        super().__init__(num_classes, momentum)
        key = 'model.pseudo_labels.weights.sharpness'
        check_number(key, sharpness, '(0, inf)')
        self.sharpness = sharpness
        self.register_buffer('variance', torch.tensor(1.0))

    def begin(self, start: StartStatistics) -> None:
        """Take the statistics from the start."""
        super().begin(start)
        if len(start.confidence) > 1:
            self.variance.copy_(start.confidence.var())

    def forward(self, probs: torch.Tensor) -> torch.Tensor:
        """Weigh (B, K) probabilities: (B,), after following them."""
        confidence = probs.max(dim=1).values
        everywhere = self.follow(confidence)
        if len(everywhere) > 1:  # one value says nothing of the variance
            self.variance.lerp_(everywhere.var(), 1 - self.momentum)
        return truncated_gaussian(
            confidence, self.mean, self.variance, self.sharpness
        )


@MODELS.register_module()
class SelfAdaptiveThreshold(_FollowsConfidence):
    """FreeMatch's global threshold: the running mean of the confidence.

    FreeMatch (Wang et al., arXiv 2205.07246, Eq. 5). A sample teaches with
    weight 1 where its confidence is above, strictly, and not at all
    elsewhere.

    Args:
        num_classes: Number of classes ``K``.
        momentum: Weight of the past in the threshold, in [0, 1).

    Raises:
        ValueError: If a value is out of its range.
    """

    def __init__(self, num_classes: int, momentum: float = 0.99) -> None:
        super().__init__(num_classes, momentum)

    def forward(self, probs: torch.Tensor) -> torch.Tensor:
        """Weigh (B, K) probabilities: (B,), after following them."""
        confidence = probs.max(dim=1).values
        self.follow(confidence)
        return (confidence > self.mean).to(probs.dtype)
