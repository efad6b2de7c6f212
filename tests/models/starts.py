"""What the start said of some images, for the tests of what begins with it."""

import torch

from must_mm.models.prototypes import class_sums
from must_mm.models.start_predictions import StartStatistics


def start_statistics(
    probs: torch.Tensor, feats: torch.Tensor | None = None
) -> StartStatistics:
    """Summarise probabilities (N, K) and features (N, E)."""
    if feats is None:
        feats = torch.ones(len(probs), 1)
    ordered = probs.sort(dim=1, descending=True)
    return StartStatistics(
        mean=probs.mean(0),
        class_sums=class_sums(probs, feats),
        classes=ordered.indices,
        probs=ordered.values,
        sample=probs,
        sample_feats=feats,
    )
