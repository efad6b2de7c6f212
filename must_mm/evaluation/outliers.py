"""Images of none of the classes: scores that are higher for them."""

import torch
import torch.nn.functional as F

from .knn import nearest


def text_distance(
    features: torch.Tensor, classifier: torch.Tensor
) -> torch.Tensor:
    """One minus the cosine to the most similar class (arXiv 2211.13445).

    Args:
        features: Global features of a CLIP-like model, (N, E), any length.
        classifier: Embedding of each class, (K, E).

    Returns:
        (N,), in [0, 2].
    """
    cosine = F.normalize(features, dim=1) @ F.normalize(classifier, dim=1).T
    return 1 - cosine.max(dim=1).values


def energy(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """``-T logsumexp(logits / T)`` (arXiv 2010.03759).

    Args:
        logits: (N, K).
        temperature: Positive.

    Returns:
        (N,), of any sign.
    """
    return -temperature * (logits / temperature).logsumexp(dim=1)


def prototype_distance(
    features: torch.Tensor, probs: torch.Tensor
) -> torch.Tensor:
    """One minus the cosine to the prototype of the predicted class.

    A prototype is the mean feature of the images that are given its class,
    weighted by their probability.

    Args:
        features: (N, D), of any length.
        probs: (N, K).

    Returns:
        (N,), in [0, 2].
    """
    features = F.normalize(features, dim=1)
    confidence, label = probs.to(features.dtype).max(dim=1)
    weights = F.one_hot(label, probs.shape[1]) * confidence[:, None]
    prototypes = F.normalize(weights.T @ features, dim=1)
    return 1 - (features * prototypes[label]).sum(dim=1)


def neighbour_distance(features: torch.Tensor, k: int = 10) -> torch.Tensor:
    """One minus the mean cosine to the k nearest other images.

    Args:
        features: (N, D), of any length.
        k: Neighbours, fewer if there are no more.

    Returns:
        (N,), in [0, 2].
    """
    k = min(k, len(features) - 1)
    near = [nearest(c, features, k + 1)[0] for c in features.split(1024)]
    return 1 - torch.cat(near)[:, 1:].mean(dim=1)


def auroc(scores: torch.Tensor, outlier: torch.Tensor) -> float:
    """Share of pairs whose outlier has the higher score, ties as halves.

    Args:
        scores: (N,).
        outlier: (N,), booleans, some true and some false.
    """
    # imported here: it takes seconds
    from scipy.stats import rankdata

    ranks = torch.from_numpy(rankdata(scores.double().numpy()))
    inside, outside = (~outlier).sum().item(), outlier.sum().item()
    above = ranks[outlier].sum().item() - outside * (outside + 1) / 2
    return above / (inside * outside)
