"""Distribution alignment: labels whose mean is no longer the teacher's bias.

A teacher that prefers some classes teaches them, and its pupil prefers them
more. Dividing its probabilities by their running mean takes the preference
out: DebiasPL (Wang et al., arXiv 2201.01490, Eq. 2) subtracts the logarithm
of the mean from the logits, AdaMatch (Berthelot et al., arXiv 2106.04732,
Sec. 3.2) and ReMixMatch multiply by the ratio of prior and mean.
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
from mmpretrain.registry import MODELS

from ..utils.distributed import gather
from ..utils.validation import check_integer, check_number
from .class_prior import SMALLEST_MEAN, class_prior, uniform_prior
from .neighbour_prior import neighbour_prior
from .start_predictions import StartStatistics

AUTO = 'auto'


def align_distribution(
    probs: torch.Tensor,
    mean: torch.Tensor,
    prior: torch.Tensor,
    exponent: float = 1.0,
) -> torch.Tensor:
    """Return ``q'`` with ``q'_k`` proportional to ``q_k (pi_k / m_k)^a``.

    Args:
        probs: Probabilities ``q``, (B, K).
        mean: Their running mean ``m``, (K,).
        prior: Share ``pi`` of each class, (K,).
        exponent: ``a``: 0 leaves the probabilities alone, 1 divides by the
            whole mean.

    Returns:
        Probabilities (B, K).
    """
    ratio = prior / mean.clamp(min=SMALLEST_MEAN)
    aligned = probs * ratio.pow(exponent)
    return aligned / aligned.sum(dim=1, keepdim=True)


class TowardsPrior(nn.Module):
    """What brings labels to a prior.

    Args:
        num_classes: Number of classes ``K``.
        prior: Share of each class, positive and of sum 1; ``None`` for
            uniform; ``'auto'`` estimates it from the start's predictions, see
            :func:`neighbour_prior`, which needs :class:`StartPassHook`.

    Raises:
        ValueError: If the prior is not a distribution over the classes.
        TypeError: If it is of another type.
    """

    KEY = 'model.pseudo_labels.alignment'

    def __init__(
        self, num_classes: int, prior: Sequence[float] | str | None
    ) -> None:
        super().__init__()
        check_integer(f'{self.KEY}.num_classes', num_classes, at_least=2)
        self.estimates_prior = self.wants_sample = prior == AUTO
        if self.estimates_prior:
            prior = None
        shares = class_prior(f'{self.KEY}.prior', prior, num_classes)
        if shares is None:
            shares = uniform_prior(num_classes)
        # an estimate is a result of the run, a stated prior part of its config
        self.register_buffer('prior', shares, persistent=self.estimates_prior)

    def begin(self, start: StartStatistics) -> None:
        """Estimate the prior, where it is not stated."""
        if self.estimates_prior:
            log_probs = start.sample.clamp(min=SMALLEST_MEAN).log()
            self.prior.copy_(neighbour_prior(log_probs, start.sample_feats))


@MODELS.register_module()
class DistributionAlignment(TowardsPrior):
    """:func:`align_distribution` with a mean that follows the teacher.

    Args:
        num_classes: Number of classes ``K``.
        momentum: Weight of the past in the running mean, in [0, 1).
        exponent: ``a`` of :func:`align_distribution`, in [0, 1].
        prior: Share of each class; see :class:`TowardsPrior`.

    Raises:
        ValueError: If a value is out of its range, or the prior is no
            distribution over the classes.
        TypeError: If the prior is of another type.
    """

    def __init__(
        self,
        num_classes: int,
        momentum: float = 0.95,
        exponent: float = 0.5,
        prior: Sequence[float] | str | None = None,
    ) -> None:
        super().__init__(num_classes, prior)
        check_number(f'{self.KEY}.momentum', momentum, '[0, 1)')
        check_number(f'{self.KEY}.exponent', exponent, '[0, 1]')
        self.momentum = momentum
        self.exponent = exponent
        self.register_buffer('mean', uniform_prior(num_classes))

    def begin(self, start: StartStatistics) -> None:
        """Take the mean from the start, and an estimated prior."""
        super().begin(start)
        self.mean.copy_(start.mean)

    def forward(self, probs: torch.Tensor) -> torch.Tensor:
        """Align (B, K) probabilities, after the mean has followed them.

        Under ``torch.distributed`` the mean is that of all ranks, of equal
        batch size.
        """
        batch = gather(probs.mean(dim=0, keepdim=True)).mean(dim=0)
        self.mean.lerp_(batch, 1 - self.momentum)
        return align_distribution(probs, self.mean, self.prior, self.exponent)
