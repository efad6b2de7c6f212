"""The self-training, fairness and alignment losses of MUST.

The maths are pure functions of tensors; the registered classes below them add
a weight and, for fairness, the running average. Section and equation numbers
refer to MUST (arXiv 2206.02967).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from ..utils.distributed import gather
from ..utils.validation import check_integer, check_number, check_type
from .class_prior import class_prior


def confident(probs: torch.Tensor, threshold: float) -> torch.Tensor:
    """Weigh samples by a threshold (Sec. 3.1): 1 where ``max q > tau``.

    Args:
        probs: Probabilities ``q``, (B, K).
        threshold: Confidence threshold ``tau``, in (0, 1); strict.

    Returns:
        Ones and zeros, (B,).
    """
    return (probs.max(dim=1).values > threshold).to(probs.dtype)


def self_training_loss(
    logits: torch.Tensor, teacher_probs: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy on the pseudo-labels (Sec. 3.1, ``L_st``).

    Without any sample that counts the loss is an exact zero that still
    carries a (zero) gradient, so that data-parallel ranks stay in step.

    Args:
        logits: Student logits on the strong view, shape (B, K).
        teacher_probs: Teacher probabilities ``q`` on the weak view, (B, K);
            the most probable class is the label.
        weights: Weight of each sample, not negative, (B,); as published 1
            for those that are :func:`confident`, 0 for the others.

    Returns:
        Scalar, the weighted mean over the samples of this rank.
    """
    per_sample = F.cross_entropy(
        logits, teacher_probs.argmax(dim=1), reduction='none'
    )
    weights = weights.to(logits.dtype)
    return (per_sample * weights).sum() / weights.sum().clamp(min=1)


def log_mean_probability(logits: torch.Tensor) -> torch.Tensor:
    """Logarithm of the mean class probability over the global batch.

    Computed in log space and fp32, so that a class without any probability
    mass gives a finite value. Under ``torch.distributed`` the mean spans the
    samples of all ranks, of which one may have fewer, and the gradient flows
    through the gather.

    Args:
        logits: This rank's logits, shape (B, K).

    Returns:
        ``log p_bar``, shape (K,).
    """
    log_probs = F.log_softmax(logits.float(), dim=1)
    own = log_probs.new_full((1, 1), len(logits))
    sums = gather(torch.cat([log_probs.logsumexp(0, keepdim=True), own], 1))
    log_sums, counts = sums[:, :-1], sums[:, -1]
    return log_sums.logsumexp(dim=0) - counts.sum().log()


def fairness_loss(
    log_mean_prob: torch.Tensor, prior: torch.Tensor | None = None
) -> torch.Tensor:
    """Pull the mean prediction towards a prior (Sec. 3.1, ``L_fair``).

    Args:
        log_mean_prob: ``log p_bar``, shape (K,).
        prior: Share of each class, of sum 1, shape (K,); uniform, as
            published, by default.

    Returns:
        Scalar ``-mean_k log p_bar_k``, at least ``log K``; with a prior
        ``pi``, the cross-entropy ``-sum_k pi_k log p_bar_k``, at least the
        prior's entropy.
    """
    if prior is None:
        return -log_mean_prob.mean()
    return -(prior * log_mean_prob).sum()


def alignment_loss(
    local_feats: torch.Tensor, global_feats: torch.Tensor
) -> torch.Tensor:
    """Mean squared distance of local to global features (Sec. 3.3).

    Args:
        local_feats: Normalised features of the masked patches, shape (M, E).
        global_feats: Normalised global feature of the image that each patch
            belongs to, shape (M, E).

    Returns:
        Scalar ``mean ||l - g||^2``. The gradient reaches both arguments.
    """
    return (local_feats - global_feats).pow(2).sum(dim=-1).mean()


@MODELS.register_module()
class FairnessLoss(nn.Module):
    """``L_fair`` over the batch, or over a running average for many classes.

    With hundreds of classes a batch is too small to estimate ``p_bar``, so
    the mean is averaged over iterations: ``p_bar_t = m * p_bar_{t-1} +
    (1 - m) * batch mean``, gradient through the batch mean only, and the
    loss divided by ``1 - m``. :class:`FairnessRestartHook` restarts the
    average, with the batch mean alone, at the first iteration of every pass
    over the data.

    Args:
        num_classes: Number of classes ``K``.
        momentum: Weight of the past in the running average, in (0, 1).
        moving_average: Whether to use the running average; ``None`` uses it
            from 512 classes on, as published.
        loss_weight: Weight ``w_fair`` of the loss, not negative.
        prior: Share of each class, positive and of sum 1; uniform by
            default.

    Raises:
        ValueError: If a value is out of its range, or the prior is no
            distribution over the classes.
        TypeError: If a value is of another type.
    """

    MANY_CLASSES = 512

    def __init__(
        self,
        num_classes: int,
        momentum: float = 0.5,
        moving_average: bool | None = None,
        loss_weight: float = 1.0,
        prior: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        key = 'model.head.fairness'
        check_integer(f'{key}.num_classes', num_classes)
        check_number(f'{key}.momentum', momentum, '(0, 1)')
        check_number(f'{key}.loss_weight', loss_weight, '[0, inf)')
        check_type(f'{key}.moving_average', moving_average, bool, type(None))
        # part of the config, not of the checkpoint
        self.register_buffer(
            'prior',
            class_prior(f'{key}.prior', prior, num_classes),
            persistent=False,
        )
        if moving_average is None:
            moving_average = num_classes >= self.MANY_CLASSES
        self.momentum = momentum
        self.moving_average = moving_average
        self.loss_weight = loss_weight
        if moving_average:
            # -inf, a probability of 0, marks an average without any past.
            self.register_buffer(
                'log_average', torch.full((num_classes,), -torch.inf)
            )

    def restart(self) -> None:
        """Forget the running average: a new pass over the data begins."""
        if self.moving_average:
            self.log_average.fill_(-torch.inf)

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Compute the weighted loss and advance the running average.

        Args:
            logits: Student logits of this rank, shape (B, K).

        Returns:
            Scalar ``w_fair * L_fair``.
        """
        log_mean = log_mean_probability(logits)
        if not self.moving_average:
            return self.loss_weight * fairness_loss(log_mean, self.prior)
        log_past = self.log_average + math.log(self.momentum)
        log_now = log_mean + math.log(1 - self.momentum)
        log_mean = torch.where(
            self.log_average.isinf(),
            log_mean,
            torch.logaddexp(log_past, log_now),
        )
        self.log_average.copy_(log_mean.detach())
        loss = fairness_loss(log_mean, self.prior)
        return self.loss_weight * loss / (1 - self.momentum)


@MODELS.register_module()
class GlobalLocalAlignmentLoss(nn.Module):
    """Weighted :func:`alignment_loss`, ``L_align`` (Sec. 3.3).

    Args:
        loss_weight: Weight ``w_align`` of the loss, not negative.

    Raises:
        ValueError: If the weight is out of its range.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        check_number('model.align_loss.loss_weight', loss_weight, '[0, inf)')
        self.loss_weight = loss_weight

    def forward(
        self, local_feats: torch.Tensor, global_feats: torch.Tensor
    ) -> torch.Tensor:
        """Return ``w_align * L_align`` of (M, E) local and global features."""
        return self.loss_weight * alignment_loss(local_feats, global_feats)
