"""Labels that spread from image to image along neighbourhoods.

Learning with local and global consistency (Zhou et al., NeurIPS 2003), on the
neighbours of features as in Iscen et al. (arXiv 1904.04717, Sec. 3.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from scipy.sparse import csr_array

POWER = 3
KEPT, ROUNDS = 0.9, 50
#: A label that a person gave weighs as much as the predictions of so many
#: images.
LABEL_WEIGHT = 10.0


def neighbour_graph(cosine: torch.Tensor, near: torch.Tensor) -> csr_array:
    """Weights between images and their neighbours, normalised.

    ``D^-1/2 (A + A') D^-1/2`` with the cosine, where it is positive, to the
    third power in ``A``.

    Args:
        cosine: Similarity to the neighbours of each image, (N, k).
        near: Their indices, (N, k), see :func:`nearest_others`.

    Returns:
        Sparse, (N, N), symmetric.
    """
    # imported here: it takes half a second
    from scipy.sparse import coo_array, dia_array

    count, k = near.shape
    weights = cosine.float().clamp(min=0).pow(POWER).flatten().numpy()
    rows = np.arange(count).repeat(k)
    one_way = coo_array(
        (weights, (rows, near.flatten().numpy())), shape=(count, count)
    )
    both = (one_way + one_way.T).tocsr()
    degree = both.sum(axis=1)
    tiny = np.finfo(weights.dtype).tiny
    scale = dia_array(
        (np.maximum(degree, tiny)[None] ** -0.5, [0]), shape=both.shape
    )
    return (scale @ both @ scale).tocsr()


def diffuse(
    values: torch.Tensor, graph: csr_array, kept: float = KEPT
) -> torch.Tensor:
    """Spread values over a graph: ``F <- a S F + (1 - a) V``.

    Args:
        values: ``V``, (N, C), on the CPU.
        graph: ``S``, see :func:`neighbour_graph`.
        kept: ``a``, in [0, 1): how much comes from neighbours.

    Returns:
        (N, C).
    """
    own = (1 - kept) * values.float().numpy()
    step, found = kept * graph, values.float().numpy()
    for _ in range(ROUNDS):
        found = step @ found + own
    return torch.from_numpy(found)


def propagate(
    probs: torch.Tensor, graph: csr_array, kept: float = KEPT
) -> torch.Tensor:
    """Spread probabilities over a graph.

    Args:
        probs: (N, K), of any sum: what it is, is how much a row weighs.
        graph: See :func:`neighbour_graph`.
        kept: See :func:`diffuse`.

    Returns:
        (N, K), rows of sum 1.
    """
    return F.normalize(diffuse(probs, graph, kept), p=1, dim=1)
