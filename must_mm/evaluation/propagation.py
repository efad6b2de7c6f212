"""Labels that spread from image to image along neighbourhoods.

Learning with local and global consistency (Zhou et al., NeurIPS 2003), on the
neighbours of features as in Iscen et al. (arXiv 1904.04717, Sec. 3.2).
"""

import torch
import torch.nn.functional as F

POWER = 3
KEPT, ROUNDS = 0.9, 50
#: A label that a person gave weighs as much as the predictions of so many
#: images.
LABEL_WEIGHT = 10.0


def neighbour_graph(cosine: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
    """Weights between images and their neighbours, normalised.

    ``D^-1/2 (A + A') D^-1/2`` with the cosine, where it is positive, to the
    third power in ``A``.

    Args:
        cosine: Similarity to the neighbours of each image, (N, k).
        near: Their indices, (N, k), see :func:`nearest_others`.

    Returns:
        Sparse, (N, N), symmetric.
    """
    count, k = near.shape
    weights = (cosine.clamp(min=0) ** POWER).flatten().repeat(2)
    rows = torch.arange(count, device=near.device).repeat_interleave(k)
    # both directions
    one = torch.cat([rows, near.flatten()])
    other = torch.cat([near.flatten(), rows])
    degree = weights.new_zeros(count).index_add(0, one, weights)
    scale = degree.clamp(min=torch.finfo(degree.dtype).tiny).rsqrt()
    return torch.sparse_coo_tensor(
        torch.stack([one, other]),
        weights * scale[one] * scale[other],
        (count, count),
        check_invariants=False,
    ).coalesce()


def diffuse(
    values: torch.Tensor, graph: torch.Tensor, kept: float = KEPT
) -> torch.Tensor:
    """Spread values over a graph: ``F <- a S F + (1 - a) V``.

    Args:
        values: ``V``, (N, C).
        graph: ``S``, see :func:`neighbour_graph`.
        kept: ``a``, in [0, 1): how much comes from neighbours.

    Returns:
        (N, C).
    """
    found = values = values.float()
    for _ in range(ROUNDS):
        found = torch.lerp(values, torch.sparse.mm(graph, found), kept)
    return found


def propagate(
    probs: torch.Tensor, graph: torch.Tensor, kept: float = KEPT
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
