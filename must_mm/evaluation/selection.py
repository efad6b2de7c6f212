"""Which images a person should label: those that settle the most doubt."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch

from .propagation import LABEL_WEIGHT, diffuse

if TYPE_CHECKING:
    from scipy.sparse import csr_array

#: Of images without any doubt, so that no part of the images is forgotten.
LEAST_DOUBT = 0.05


def choose_for_review(
    graph: csr_array,
    doubt: torch.Tensor,
    count: int,
    leave_out: Collection[int] = (),
) -> list[int]:
    """Choose images whose label would teach most.

    A label spreads along the neighbourhoods and weighs more where others
    weigh less. Asked for is, one by one, the image that is in doubt and whose
    label would reach the most doubt; what it reaches is in doubt less. So a
    neighbourhood is asked for at its middle, and again only while its doubt
    exceeds that of others.

    Args:
        graph: Neighbourhoods of N images, see :func:`neighbour_graph`.
        doubt: How unsure the label of each is, (N,), in [0, 1].
        count: How many; all that are left if there are fewer.
        leave_out: Indices that are not asked for, such as copies and what is
            known.

    Returns:
        Indices, the one that reaches the most first.
    """
    doubt = doubt.float().clamp(min=LEAST_DOUBT)
    free = torch.ones(len(doubt), dtype=torch.bool)
    free[list(leave_out)] = False
    heard = diffuse(torch.ones(len(doubt), 1), graph)[:, 0]
    left, chosen = doubt, []
    for _ in range(min(count, int(free.sum()))):
        worth = doubt * diffuse((left / heard)[:, None], graph)[:, 0]
        asked = int(worth.masked_fill(~free, -1).argmax())
        chosen.append(asked)
        free[asked] = False
        told = torch.zeros(len(doubt), 1)
        told[asked] = LABEL_WEIGHT
        left = left * heard / (heard + diffuse(told, graph)[:, 0])
    return chosen
