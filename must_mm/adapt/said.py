"""What runs have said of the images, kept for those who correct them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from must_mm_cli.options import going_on

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

        Neighbours among the others become the image itself, of no weight.
        """
        places = {name: place for place, name in enumerate(self.names)}
        kept = torch.tensor([places[n] for n in names], dtype=torch.long)
        own = torch.arange(len(kept))
        now = torch.full((len(self.names),), -1)
        now[kept] = own
        near = now[self.near[kept]]
        return Said(
            list(names),
            self.probs[kept],
            self.votes[:, kept],
            self.cosine[kept].masked_fill(near < 0, 0.0),
            torch.where(near < 0, own[:, None], near),
        )


def said_of(
    names: Sequence[str], probs: torch.Tensor, feats: Sequence[torch.Tensor]
) -> Said:
    """Put together what each run says of the same images.

    Args:
        names: Paths of N images.
        probs: What each run says of them, calibrated, (R, N, K).
        feats: What each run sees, (N, E).
    """
    cosine, near = alike(feats)
    return Said(
        list(names),
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


def recall(out: Path, names: Collection[str]) -> Said:
    """Read what the runs of a result have said.

    Args:
        out: Folder of the result.
        names: Paths of the images that are there now.

    Raises:
        ValueError: If that is not there, damaged, or of other images.
    """
    path = out / FILE
    if not path.is_file():
        raise ValueError(
            f'{path} is missing, from which labels would spread; '
            f'{going_on(out)} writes it anew'
        )
    try:
        said = Said(**load_tensors(path))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is damaged; {going_on(out)} writes it anew'
        ) from error
    if set(names).isdisjoint(said.names):
        raise ValueError(
            f'--labels: the result in {out} has seen none of the images that '
            'are in the folder now; adapt to them anew'
        )
    return said
