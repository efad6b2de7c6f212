"""From what the teacher says to what the student learns."""

from typing import NamedTuple

import torch
import torch.nn as nn
from mmpretrain.registry import MODELS

from ..utils.validation import check_type
from .label_loss import UNKNOWN, with_known_labels
from .start_predictions import StartPredictions, StartStatistics

#: Images by which a prior is estimated, at least.
SAMPLE = 2048


class Labels(NamedTuple):
    """Labels of a batch.

    Attributes:
        probs: Probabilities of the classes, (B, K); the most probable one is
            the label.
        weights: How much each label teaches, (B,); ``None`` where the head's
            threshold decides.
    """

    probs: torch.Tensor
    weights: torch.Tensor | None = None

    def corrected(self, known: torch.Tensor) -> 'Labels':
        """Return the labels with those that are known, (B,), in full weight.

        :data:`UNKNOWN` where the guess stays.
        """
        probs, weights = with_known_labels(self.probs, known), self.weights
        if weights is not None:
            weights = weights.masked_fill(known != UNKNOWN, 1)
        return Labels(probs, weights)


@MODELS.register_module()
class PseudoLabels(nn.Module):
    """Better labels from the teacher's predictions, each step an option.

    In this order: the start's predictions and the class centroids are mixed
    in, the distribution is aligned with the prior, and what comes out is
    weighted by its confidence. Without any of them the labels are the
    teacher's, as published.

    Args:
        num_classes: Number of classes ``K``.
        in_channels: Width ``E`` of the features of unit length.
        anchor: Config of :class:`StartAnchor`.
        prototypes: Config of :class:`Prototypes`.
        alignment: Config of :class:`BalancedLabels` or
            :class:`DistributionAlignment`.
        weights: Config of :class:`TruncatedGaussianWeights` or
            :class:`SelfAdaptiveThreshold`; the threshold of the head decides
            otherwise.

    Raises:
        TypeError: If a part is not a config.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        anchor: dict | None = None,
        prototypes: dict | None = None,
        alignment: dict | None = None,
        weights: dict | None = None,
    ) -> None:
        super().__init__()

        def build(name: str, part: dict | None, **sizes) -> nn.Module | None:
            check_type(f'model.pseudo_labels.{name}', part, dict, type(None))
            if part is None:  # {} builds a part with its default values
                return None
            return MODELS.build(
                dict(dict(type=DEFAULTS[name]), **part, **sizes)
            )

        classes = dict(num_classes=num_classes)
        self.anchor = build('anchor', anchor)
        self.prototypes = build(
            'prototypes', prototypes, **classes, in_channels=in_channels
        )
        self.alignment = build('alignment', alignment, **classes)
        self.weights = build('weights', weights, **classes)
        self.start = StartPredictions(num_classes)

    @property
    def sample_size(self) -> int:
        """How many of the start's predictions a part wants in full."""
        wanted = self.alignment is not None and self.alignment.wants_sample
        bank = getattr(self.alignment, 'bank', ())
        return max(len(bank), SAMPLE if wanted else 0)

    @property
    def needs_start(self) -> bool:
        """Whether a part cannot do without :class:`StartPassHook`."""
        return self.anchor is not None or (
            self.alignment is not None and self.alignment.wants_sample
        )

    def begin(self, start: StartStatistics) -> None:
        """Start from the start's predictions of the training images."""
        self.start.begin(start)
        for part in self.children():
            part.begin(start)

    def forward(
        self,
        probs: torch.Tensor,
        feats: torch.Tensor,
        index: torch.Tensor | None,
    ) -> Labels:
        """Label a batch, after the statistics have followed it.

        Args:
            probs: The teacher's probabilities, (B, K).
            feats: Its global features of unit length, (B, E).
            index: Numbers of the samples, (B,), where the start's predictions
                are known.

        Raises:
            ValueError: If they are not known and needed.
        """
        if self.needs_start and not len(self.start):
            raise ValueError(
                "model.pseudo_labels.anchor, and prior='auto' or "
                "strength='auto' of the alignment, start from the start's "
                'predictions of the training images: add '
                "dict(type='StartPassHook') to custom_hooks"
            )
        if self.anchor is not None:
            probs = self.anchor(probs, self.start(index))
        if self.prototypes is not None:
            probs = self.prototypes.mix(probs, feats)
        if self.alignment is not None:
            probs = self.alignment(probs)
        if self.prototypes is not None:
            self.prototypes.follow(probs, feats)
        if self.weights is None:
            return Labels(probs)
        return Labels(probs, self.weights(probs))


#: What a part is where its config names no type.
DEFAULTS = dict(
    anchor='StartAnchor',
    prototypes='Prototypes',
    alignment='BalancedLabels',
    weights='TruncatedGaussianWeights',
)
