"""Images that show the same: copies, rescaled or compressed once more.

Told by small copies of the pixels and not by features: a classifier maps
different images of one class to nearly the same feature.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

SIDE = 16  # pixels of the small copy
#: Correlation of small copies from which images are near duplicates.
ALIKE = 0.995


def small_copies(images: torch.Tensor) -> torch.Tensor:
    """Shrink images to what is compared.

    Args:
        images: (N, 3, H, W).

    Returns:
        (N, 3 * 16 * 16), of mean 0 and of unit length; all zero for an image
        of one colour.
    """
    small = F.adaptive_avg_pool2d(images.float(), SIDE).flatten(1)
    return F.normalize(small - small.mean(dim=1, keepdim=True), dim=1)


def near_duplicates(
    copies: torch.Tensor, alike: float = ALIKE, chunk: int = 2048
) -> list[list[int]]:
    """Group images that are near duplicates of each other.

    Groups are joined through their members, so that the first and the last
    of a long burst may differ more.

    Args:
        copies: What :func:`small_copies` returns, (N, D).
        alike: Least correlation, in [-1, 1].
        chunk: Images compared at once with all.

    Returns:
        Indices of each group, two or more, in order.
    """
    # imported here: it takes seconds
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(copies)
    pairs = torch.cat([*_alike(copies, alike, chunk)]).numpy()
    edges = coo_array(
        (np.ones(len(pairs), bool), pairs.T), shape=(count, count)
    )
    groups: dict[int, list[int]] = {}
    for index, group in enumerate(connected_components(edges, False)[1]):
        groups.setdefault(int(group), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def _alike(
    copies: torch.Tensor, alike: float, chunk: int
) -> Iterator[torch.Tensor]:
    """Pairs (P, 2) of indices, the first one smaller, chunk by chunk."""
    for begin in range(0, len(copies), chunk):
        # each pair once: with what follows
        close = copies[begin : begin + chunk] @ copies[begin:].T >= alike
        found = close.triu(diagonal=1).nonzero()
        yield found + begin


def extra_copies(groups: list[list[int]]) -> set[int]:
    """All members of the groups but the first of each."""
    return {index for group in groups for index in group[1:]}
