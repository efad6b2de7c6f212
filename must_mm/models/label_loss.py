"""Learning from the labels that may be used, beside pseudo-labels."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ..utils.validation import check_number

#: Stands for a label that may not be used, or that there is none.
UNKNOWN = -1


def known_labels(data_samples: list[DataSample]) -> torch.Tensor:
    """Labels (B,) that may be used, on the CPU; :data:`UNKNOWN` elsewhere.

    Those of samples that say so: ``labelled`` is true. Others may have a
    label for the log.

    Raises:
        ValueError: If a sample says so and has no label, or several.
    """
    labels = torch.full((len(data_samples),), UNKNOWN)
    for place, sample in enumerate(data_samples):
        if not sample.get('labelled', False):
            continue
        label = sample.get('gt_label')
        if label is None or label.numel() != 1:
            raise ValueError(
                'a training sample is marked as labelled and does not have '
                'one gt_label: let train_dataloader.dataset give it, as '
                'KnownLabels does'
            )
        labels[place] = int(label)
    return labels


def with_known_labels(
    probs: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Replace what is guessed by what is known.

    Args:
        probs: Teacher probabilities, (B, K).
        labels: (B,), :data:`UNKNOWN` where the guess stays.

    Returns:
        (B, K): all of the probability is the label's where there is one.
    """
    sure = F.one_hot(labels.clamp(min=0), probs.shape[1]).to(probs.dtype)
    return torch.where((labels != UNKNOWN)[:, None], sure, probs)


def with_weak_views(
    weak: torch.Tensor, strong: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Show every second labelled image in its weak view.

    So both kinds are learned from, and all images pass the network at once,
    which is cheap and leaves batch norms one kind of batch.

    Args:
        weak: (B, 3, H, W).
        strong: (B, 3, H, W).
        labels: (B,), :data:`UNKNOWN` where there is none.

    Returns:
        (B, 3, H, W): strong views, but for half of the labelled images.
    """
    known = labels != UNKNOWN
    turn = known & (known.cumsum(0) % 2 == 1)
    return torch.where(turn[:, None, None, None], weak, strong)


def label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy on the known labels.

    Without any it is an exact zero that still carries a (zero) gradient, so
    that data-parallel ranks stay in step.

    Args:
        logits: (B, K).
        labels: (B,), :data:`UNKNOWN` where there is none.

    Returns:
        Scalar, the mean over the known ones.
    """
    each = F.cross_entropy(
        logits, labels, ignore_index=UNKNOWN, reduction='none'
    )
    return each.sum() / (labels != UNKNOWN).sum().clamp(min=1)


@MODELS.register_module()
class LabelLoss(nn.Module):
    """``L_lab``: cross-entropy of the student on labels that may be used.

    The supervised term of semi-supervised learning (FixMatch, arXiv
    2001.07685, Sec. 2), here on weak and strong views. The data set says
    which labels may be used, see :class:`KnownLabels`, and
    :class:`LabelledShareSampler` how many there are in a batch.

    Args:
        loss_weight: Weight of the loss, not negative.

    Raises:
        ValueError: If the weight is negative.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        check_number('model.label_loss.loss_weight', loss_weight, '[0, inf)')
        self.loss_weight = loss_weight

    def forward(
        self, logits: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighted loss of logits (B, K) and labels (B,)."""
        return self.loss_weight * label_loss(logits, labels)
