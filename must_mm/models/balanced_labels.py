"""Labels that spread over the classes as the prior says, exactly.

Distribution alignment by a running mean (:class:`DistributionAlignment`) only
leans against what a teacher prefers: dividing saturated probabilities by
their mean does not make the mean of the result the prior. Here the shift of
the logits that does is solved for, on the teacher's last predictions: one
half of the Sinkhorn iteration by which SeLa (Asano et al., arXiv 1911.05371)
and SwAV (Caron et al., arXiv 2006.09882) assign images to clusters evenly,
and SLA (Tai et al., arXiv 2102.08622) unlabeled images to classes.
"""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS

from ..utils.distributed import gather
from ..utils.validation import check_integer, check_number
from .class_prior import SMALLEST_MEAN, balancing_shift
from .distribution_alignment import AUTO, TowardsPrior
from .neighbour_prior import (
    HALF,
    NEIGHBOURS,
    nearest_others,
    shift_by_neighbours,
)
from .start_predictions import StartStatistics

#: Predictions that are remembered, at least and for each class.
BANK, PER_CLASS = 1024, 16
_LOWEST = -80.0  # a logarithm; nothing that float32 tells from 0


@MODELS.register_module()
class BalancedLabels(TowardsPrior):
    """:func:`balancing_shift` on a bank of the teacher's last predictions.

    Args:
        num_classes: Number of classes ``K``.
        prior: Share of each class; see :class:`TowardsPrior`.
        size: Predictions in the bank; by default 16 for each class, and 1024
            at least.
        steps: Iterations a step, from the last shift.
        strength: Share of the shift that the labels get, in [0, 1]: 1
            balances them, less leaves room for classes that are not as
            frequent as the prior says. ``'auto'`` is a half, or less where
            :class:`StartPassHook` finds that neighbours disagree
            (:func:`shift_by_neighbours`).

    Raises:
        ValueError: If a value is out of its range, or the prior is no
            distribution over the classes.
        TypeError: If the prior is of another type.
    """

    FIRST_STEPS = 30

    def __init__(
        self,
        num_classes: int,
        prior: Sequence[float] | str | None = None,
        size: int | None = None,
        steps: int = 5,
        strength: float | str = 1.0,
    ) -> None:
        super().__init__(num_classes, prior)
        self.follows_neighbours = strength == AUTO
        if self.follows_neighbours:
            self.wants_sample, strength = True, HALF
        if size is None:
            size = max(BANK, PER_CLASS * num_classes)
        check_integer(f'{self.KEY}.size', size)
        check_integer(f'{self.KEY}.steps', steps)
        check_number(f'{self.KEY}.strength', strength, '[0, 1]')
        self.steps = steps
        # found by a run, or part of its config
        self.register_buffer(
            'strength',
            torch.tensor(float(strength)),
            persistent=self.follows_neighbours,
        )
        # until it is filled, predictions that prefer no class
        self.register_buffer('bank', torch.zeros(size, num_classes))
        self.register_buffer('oldest', torch.tensor(0))
        self.register_buffer('shift', torch.zeros(num_classes))

    def begin(self, start: StartStatistics) -> None:
        """Fill the bank with what the start says."""
        super().begin(start)
        if self.follows_neighbours:
            said = start.sample.clamp(min=SMALLEST_MEAN).log()
            _, near = nearest_others(start.sample_feats, NEIGHBOURS)
            part, _ = shift_by_neighbours(said, near, self.prior)
            self.strength.fill_(min(HALF, part))
        rows = torch.arange(len(self.bank)) % len(start.sample)
        self.bank.copy_(start.sample[rows.to(start.sample.device)].log())
        self.bank.clamp_(min=_LOWEST)
        self.oldest.zero_()
        self.shift.zero_()
        self._solve(self.FIRST_STEPS)

    def _solve(self, steps: int) -> None:
        self.shift.copy_(
            balancing_shift(self.bank, self.prior, self.shift, steps)
        )

    def forward(self, probs: torch.Tensor) -> torch.Tensor:
        """Balance (B, K) probabilities, once the bank has them.

        Under ``torch.distributed`` it has those of all ranks, of equal batch
        size.
        """
        log_probs = probs.log().clamp(min=_LOWEST)
        newest = gather(log_probs)[-len(self.bank) :]
        places = self.oldest + torch.arange(len(newest), device=probs.device)
        self.bank.index_copy_(0, places % len(self.bank), newest)
        self.oldest.add_(len(newest)).remainder_(len(self.bank))
        self._solve(self.steps)
        return (log_probs + self.strength * self.shift).softmax(dim=1)
