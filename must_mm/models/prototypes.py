"""Labels from the nearest class centroid of the teacher's own features.

SHOT (Liang et al., arXiv 2002.08546, Eq. 4 and 5) labels an image by the
centroid that its feature is closest to, where each centroid is the mean
feature weighted with the class's probabilities. DPA (Ali et al., arXiv
2408.08855) mixes such labels with those of the classifier.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from ..utils.distributed import gather
from ..utils.validation import check_integer, check_number
from .start_predictions import StartStatistics


def class_sums(probs: torch.Tensor, feats: torch.Tensor) -> torch.Tensor:
    """Sum features (B, E), weighted with probabilities (B, K): (K, E)."""
    return probs.t() @ feats


def prototype_probs(
    feats: torch.Tensor, prototypes: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Softmax of the cosine similarities to the prototypes.

    Args:
        feats: Features of unit length, (B, E).
        prototypes: One for each class, of any length, (K, E).
        temperature: Divides the similarities, positive.

    Returns:
        Probabilities (B, K).
    """
    similarity = feats @ F.normalize(prototypes, dim=1).t()
    return (similarity / temperature).softmax(dim=1)


@MODELS.register_module()
class Prototypes(nn.Module):
    """Running centroids of the teacher's features, mixed into its labels.

    Args:
        num_classes: Number of classes ``K``.
        in_channels: Width ``E`` of the features.
        weight: Share of the centroids' label in the mixture, in [0, 1].
        momentum: Weight of the past in the centroids, in [0, 1).
        temperature: See :func:`prototype_probs`.

    Raises:
        ValueError: If a value is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        weight: float = 0.3,
        momentum: float = 0.95,
        temperature: float = 0.05,
    ) -> None:
        super().__init__()
        key = 'model.pseudo_labels.prototypes'
        check_integer(f'{key}.num_classes', num_classes, at_least=2)
        check_integer(f'{key}.in_channels', in_channels)
        check_number(f'{key}.weight', weight, '[0, 1]')
        check_number(f'{key}.momentum', momentum, '[0, 1)')
        check_number(f'{key}.temperature', temperature, '(0, inf)')
        self.weight = weight
        self.momentum = momentum
        self.temperature = temperature
        # a mean up to its length: the similarities do not know it
        self.register_buffer('sums', torch.zeros(num_classes, in_channels))

    def begin(self, start: StartStatistics) -> None:
        """Take the centroids from the start."""
        self.sums.copy_(start.class_sums / len(start.probs))

    def mix(self, probs: torch.Tensor, feats: torch.Tensor) -> torch.Tensor:
        """Mix the centroids' labels of (B, E) features into (B, K)."""
        nearest = prototype_probs(feats, self.sums, self.temperature)
        return torch.lerp(probs, nearest, self.weight)

    def follow(self, probs: torch.Tensor, feats: torch.Tensor) -> None:
        """Move the centroids towards the features with these labels.

        Under ``torch.distributed`` towards those of all ranks, of equal batch
        size.
        """
        batch = class_sums(probs, feats)[None] / len(probs)
        self.sums.lerp_(gather(batch).mean(dim=0), 1 - self.momentum)
