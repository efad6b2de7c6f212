"""Labels that spread from image to image along neighbourhoods.

Learning with local and global consistency (Zhou et al., NeurIPS 2003), on the
neighbours of features as in Iscen et al. (arXiv 1904.04717, Sec. 3.2).
"""

import torch
import torch.nn.functional as F

from .knn import nearest

NEIGHBOURS, POWER = 10, 3
KEPT, ROUNDS = 0.9, 50
CHUNK = 1024  # images whose neighbours are looked for at once


def neighbour_graph(
    feats: torch.Tensor, neighbours: int = NEIGHBOURS
) -> torch.Tensor:
    """Weights between images and their neighbours, normalised.

    ``D^-1/2 (A + A') D^-1/2`` with the cosine, where it is positive, to the
    third power in ``A``.

    Args:
        feats: Features, (N, E), of any length.
        neighbours: How many of each image, where there are as many others.

    Returns:
        Sparse, (N, N), symmetric.
    """
    count = len(feats)
    neighbours = min(neighbours, count - 1)
    rows, columns, weights = [], [], []
    for part in torch.arange(count, device=feats.device).split(CHUNK):
        cosine, index = nearest(feats[part], feats, neighbours + 1)
        own = index == part[:, None]
        # a copy may stand before the image itself: then drop the last one
        own[:, -1] |= ~own.any(dim=1)
        rows.append(part.repeat_interleave(neighbours))
        columns.append(index[~own])
        weights.append(cosine[~own].clamp(min=0) ** POWER)
    rows, columns = torch.cat(rows), torch.cat(columns)
    weights = torch.cat(weights)
    # both directions
    one, other = torch.cat([rows, columns]), torch.cat([columns, rows])
    degree = weights.new_zeros(count).index_add(0, one, weights.repeat(2))
    scale = degree.clamp(min=torch.finfo(degree.dtype).tiny).rsqrt()
    return torch.sparse_coo_tensor(
        torch.stack([one, other]),
        weights.repeat(2) * scale[one] * scale[other],
        (count, count),
        check_invariants=False,
    ).coalesce()


def propagate(
    probs: torch.Tensor, graph: torch.Tensor, kept: float = KEPT
) -> torch.Tensor:
    """Spread probabilities over a graph: ``F <- a S F + (1 - a) P``.

    Args:
        probs: ``P``, (N, K).
        graph: ``S``, see :func:`neighbour_graph`.
        kept: ``a``, in [0, 1): how much comes from neighbours.

    Returns:
        (N, K), rows of sum 1.
    """
    found = probs = probs.float()
    for _ in range(ROUNDS):
        found = torch.lerp(probs, torch.sparse.mm(graph, found), kept)
    return F.normalize(found, p=1, dim=1)
