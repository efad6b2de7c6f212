"""What images are to be called, by runs, their neighbours and people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..evaluation.propagation import (
    LABEL_WEIGHT,
    neighbour_graph,
    propagate,
)
from ..models.label_loss import UNKNOWN, with_known_labels
from ..models.neighbour_prior import balanced_by_neighbours
from .said import Said

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Lesson(NamedTuple):
    """What images are to be called.

    Attributes:
        names: Paths of N images.
        probs: How probable the classes of each are, (N, K).
        graph: Neighbourhoods, see :func:`neighbour_graph`.
    """

    names: list[str]
    probs: torch.Tensor
    graph: csr_array

    @property
    def labels(self) -> torch.Tensor:
        """The most probable class of each, (N,)."""
        return self.probs.argmax(dim=1)

    @property
    def doubt(self) -> torch.Tensor:
        """What is missing to certainty, (N,), in [0, 1]."""
        return 1 - self.probs.max(dim=1).values


def lesson(
    said: Said,
    known: Mapping[str, int],
    prior: torch.Tensor | None = None,
) -> Lesson:
    """Label images by what runs say of them and of their neighbours.

    Args:
        said: What the runs say.
        known: Classes that a person has given, by name. They prevail, and
            weigh more with the neighbours than what a run says.
        prior: Shares by which labels are balanced, (K,), if they are.
    """
    given = torch.tensor([known.get(name, UNKNOWN) for name in said.names])
    probs = said.probs
    if prior is not None:
        probs = balanced_by_neighbours(probs, said.near, prior)
    weight = torch.where(given == UNKNOWN, 1.0, LABEL_WEIGHT)
    graph = neighbour_graph(said.cosine, said.near)
    spread = propagate(
        with_known_labels(probs, given) * weight[:, None], graph
    )
    return Lesson(said.names, with_known_labels(spread, given), graph)
