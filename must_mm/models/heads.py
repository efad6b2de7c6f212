"""Classifiers that learn from pseudo-labels, as MMPretrain neck and heads."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ..utils.distributed import to_device
from ..utils.validation import check_integer, check_number, check_type
from .losses import confident, self_training_loss


def in_precision(
    feature: torch.Tensor | tuple[torch.Tensor, ...], dtype: torch.dtype
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Convert a feature, or each of several."""
    if isinstance(feature, torch.Tensor):
        return feature.to(dtype)
    return tuple(part.to(dtype) for part in feature)


_FAIRNESS = dict(type='FairnessLoss')


class SelfTrainingHead(ClsHead):
    """What the heads below share: thresholds and losses, no classifier.

    Logits have the precision of the weights under autocast, too: bfloat16
    tells 38 from 38.1 no more, so that confidences would be a few per cent
    off and the largest logit often tied.

    Args:
        num_classes: Number of classes ``K``.
        in_channels: Width ``E`` of the global feature.
        threshold: Confidence ``tau`` above which (strictly) a pseudo-label
            is trusted, in (0, 1).
        fairness: Config of the fairness loss, without ``num_classes``;
            ``None`` trains without it.
        logit_scale: Initial ``s``, positive. Weights that are loaded may bring
            their own.
        topk: Accuracies to report when MMPretrain asks for them.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If a value is out of its range, or there are fewer than
            two classes.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        threshold: float = 0.7,
        fairness: dict | None = _FAIRNESS,
        logit_scale: float = 1.0,
        topk: tuple[int, ...] = (1,),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(topk=topk, init_cfg=init_cfg)
        check_integer('model.head.num_classes', num_classes, at_least=2)
        check_integer('model.head.in_channels', in_channels)
        check_number('model.head.threshold', threshold, '(0, 1)')
        check_number('model.head.logit_scale', logit_scale, '(0, inf)')
        check_type('model.head.fairness', fairness, dict, type(None))
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.threshold = threshold
        self.register_buffer('logit_scale', torch.tensor(float(logit_scale)))
        self.fairness_loss = fairness and MODELS.build(
            dict(fairness, num_classes=num_classes)
        )

    def joint_feature(self, feats: tuple) -> torch.Tensor:
        """Return ``g``, (B, E), of unit length, for the alignment."""
        return F.normalize(self.pre_logits(feats), dim=-1)

    def classify(self, feature: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K) of the global feature (B, E)."""
        raise NotImplementedError

    def forward(self, feats: tuple) -> torch.Tensor:
        """Return logits (B, K) of the global feature (B, E)."""
        scale = self.logit_scale
        feature = in_precision(self.pre_logits(feats), scale.dtype)
        with torch.autocast(scale.device.type, enabled=False):
            return self.classify(feature)

    def loss(
        self,
        feats: tuple[torch.Tensor, ...],
        data_samples: list[DataSample],
        teacher_probs: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute ``L_st`` and ``L_fair``.

        Labels, where the samples have them, are only logged: they reach no
        loss.

        Args:
            feats: Student features of the strong view; the last is (B, E).
            data_samples: The batch's samples.
            teacher_probs: Teacher probabilities on the weak view, (B, K).
            weights: How much each pseudo-label teaches, in [0, 1], (B,); the
                threshold decides by default.

        Returns:
            ``loss_st``, ``loss_fair``; ``conf_ratio``, the mean weight, which
            is the share of confident samples, in [0, 1];
            ``teacher_confidence``, the mean of ``max q``; with labels,
            ``pseudo_label_acc``, the weighted accuracy of the pseudo-labels
            in [0, 1], NaN where none has a weight.
        """
        logits = self(feats)
        if weights is None:
            weights = confident(teacher_probs, self.threshold)
        losses = dict(
            loss_st=self_training_loss(logits, teacher_probs, weights)
        )
        if self.fairness_loss is not None:
            losses['loss_fair'] = self.fairness_loss(logits)
        confidence, pseudo_label = teacher_probs.max(dim=1)
        losses['conf_ratio'] = weights.mean()
        losses['teacher_confidence'] = confidence.mean()
        if all('gt_label' in sample for sample in data_samples):
            label = torch.cat([sample.gt_label for sample in data_samples])
            label = to_device(label, pseudo_label.device)
            correct = (pseudo_label == label).float()
            losses['pseudo_label_acc'] = (
                correct * weights
            ).sum() / weights.sum()
        return losses


@MODELS.register_module()
class PseudoLabelHead(SelfTrainingHead):
    """A text-initialised classifier of unit features.

    ``logits = s * g @ W``: ``W`` (E x K) starts as the text embeddings, is
    trained and never re-normalised; the scale ``s`` is fixed (Sec. 3.1), 100
    for OpenAI's CLIP. Takes the arguments of :class:`SelfTrainingHead`.
    """

    def __init__(self, *args, logit_scale: float = 100.0, **kwargs) -> None:
        super().__init__(*args, logit_scale=logit_scale, **kwargs)
        self.classifier = nn.Parameter(
            torch.zeros(self.in_channels, self.num_classes)
        )

    def init_weights(self) -> None:
        """Start from random unit columns; text embeddings replace them."""
        super().init_weights()
        with torch.no_grad():
            self.classifier.copy_(
                F.normalize(torch.randn_like(self.classifier), dim=0)
            )

    def joint_feature(self, feats: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return ``g``, (B, E), which is of unit length already."""
        return self.pre_logits(feats)

    def classify(self, feature: torch.Tensor) -> torch.Tensor:
        """Compare the global feature (B, E) with each class."""
        return self.logit_scale * feature @ self.classifier


@MODELS.register_module()
class LinearPseudoLabelHead(SelfTrainingHead):
    """The linear layer of a supervised classifier, trained on pseudo-labels.

    ``logits = s * (W x + b)`` of the feature as it comes, of any length. A
    trained head brings its own scale in the length of ``W``, so ``s = 1``
    keeps its confidences; a larger ``s`` sharpens them, a smaller one
    flattens them, and ``threshold`` is compared with the result. Takes the
    arguments of :class:`SelfTrainingHead`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fc = nn.Linear(self.in_channels, self.num_classes)

    def classify(self, feature: torch.Tensor) -> torch.Tensor:
        """Apply the linear layer to the global feature (B, E)."""
        return self.logit_scale * self.fc(feature)


@MODELS.register_module()
class DistilledPseudoLabelHead(LinearPseudoLabelHead):
    """The two linear layers of DeiT: of the class and distillation token.

    Their logits are averaged, as DeiT does when it predicts. Alignment takes
    the mean of the two tokens as the global feature.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fc_dist = nn.Linear(self.in_channels, self.num_classes)

    def joint_feature(self, feats: tuple[tuple, ...]) -> torch.Tensor:
        """Return the mean token, (B, E), of unit length."""
        return F.normalize(sum(self.pre_logits(feats)) / 2, dim=-1)

    def classify(self, feature: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Average the logits of both tokens, each (B, E)."""
        cls_token, dist_token = feature
        logits = (self.fc(cls_token) + self.fc_dist(dist_token)) / 2
        return self.logit_scale * logits
