"""Labels held to those of the start, less and less.

The first steps change a classifier most and know least: a new part, such as
a random mask token, is trained with the old ones at full rate. Until then
the start's own predictions are a safe part of the label. The idea is that of
temporal ensembling (Laine and Aila, arXiv 1610.02242), whose target keeps
the earlier predictions of each sample; here they are the start's, and fade.
"""

import torch
import torch.nn as nn
from mmpretrain.registry import MODELS

from ..utils.validation import check_integer, check_number
from .start_predictions import StartStatistics


def faded(weight: float, iteration: torch.Tensor, length: int) -> torch.Tensor:
    """Return a weight that falls linearly to 0 within ``length`` steps."""
    return weight * (1 - iteration / length).clamp(min=0)


@MODELS.register_module()
class StartAnchor(nn.Module):
    """Mixes the start's predictions into the labels, fading out.

    Args:
        weight: Share of the start in the first label, in [0, 1].
        length: Iterations until the share is 0.

    Raises:
        ValueError: If a value is out of its range.
    """

    def __init__(self, weight: float = 0.5, length: int = 1000) -> None:
        super().__init__()
        key = 'model.pseudo_labels.anchor'
        check_number(f'{key}.weight', weight, '[0, 1]')
        check_integer(f'{key}.length', length)
        self.weight = weight
        self.length = length
        self.register_buffer('iteration', torch.tensor(0))

    def begin(self, start: StartStatistics) -> None:
        """Count from the first iteration."""
        self.iteration.zero_()

    def forward(
        self, probs: torch.Tensor, start_probs: torch.Tensor
    ) -> torch.Tensor:
        """Mix the start's probabilities (B, K) into (B, K), once a step."""
        share = faded(self.weight, self.iteration, self.length)
        self.iteration += 1
        return torch.lerp(probs, start_probs, share)
