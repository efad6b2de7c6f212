"""What runs have said of the images, kept for those who correct them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from ..checkpoints.plain import load_tensors, save_tensors
from ..evaluation.agreement import consensus
from ..models.neighbour_prior import NEIGHBOURS, nearest_others
from ..utils.machine import device_type

FILE = 'said.pth'


@dataclass(frozen=True)
class Said:
    """What runs say of N images, and which of these they see alike.

    Attributes:
        names: Paths of the images.
        probs: What the runs say together, calibrated, (N, K).
        votes: The class that each says, (R, N).
        cosine: How alike the nearest others are, (N, k).
        near: Which these are, (N, k).
    """

    names: list[str]
    probs: torch.Tensor
    votes: torch.Tensor
    cosine: torch.Tensor
    near: torch.Tensor

    def only(self, names: Sequence[str]) -> 'Said':
        """The same of some of the images, in another order if need be.

        Edges to the others are of no weight.
        """
        places = {name: place for place, name in enumerate(self.names)}
        kept = torch.tensor([places[name] for name in names])
        now = torch.full((len(self.names),), -1)
        now[kept] = torch.arange(len(kept))
        near = now[self.near[kept]]
        return Said(
            list(names),
            self.probs[kept],
            self.votes[:, kept],
            self.cosine[kept].masked_fill(near < 0, 0.0),
            near.clamp(min=0),
        )


def said_of(
    names: Sequence[str], probs: torch.Tensor, feats: Sequence[torch.Tensor]
) -> Said:
    """Ask runs.

    Args:
        names: Paths of N images.
        probs: What each run says of them, calibrated, (R, N, K); not a number
            where an image has gone, which is left out.
        feats: What each run sees, (N, E).
    """
    there = ~probs.isnan().any(dim=2).any(dim=0)
    probs = probs[:, there]
    cosine, near = alike([one[there] for one in feats])
    return Said(
        [n for n, here in zip(names, there.tolist(), strict=True) if here],
        consensus(probs).float(),
        probs.argmax(dim=2),
        cosine,
        near,
    )


def alike(feats: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the images that runs together see most alike.

    Args:
        feats: What each run sees, (N, E).

    Returns:
        See :func:`nearest_others`, on the CPU.
    """
    # most of this is one large product
    device = 'cuda' if device_type() == 'cuda' else 'cpu'
    seen = torch.cat([F.normalize(one.float(), dim=1) for one in feats], dim=1)
    cosine, near = nearest_others(seen.to(device), NEIGHBOURS)
    return cosine.cpu(), near.cpu()


def keep(said: Said, out: Path) -> None:
    """Write it into the folder of a result."""
    save_tensors(vars(said), out / FILE)


def recall(out: Path) -> Said:
    """Read what the runs of a result have said.

    Raises:
        ValueError: If it is not there.
    """
    path = out / FILE
    if not path.is_file():
        raise ValueError(
            f'{path} is gone, from which labels would spread; adapt once '
            'more with --labels'
        )
    return Said(**load_tensors(path))
