"""The strong view as the masked student sees it, and its masked blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..utils.distributed import to_device
from .local_features import mask_on_grid, to_patches
from .masking import expand_mask


@dataclass(frozen=True)
class MaskedView:
    """A masked view with what the student makes of it.

    The mask is read on the host, where it comes from, so that no device has
    to wait for the number of masked blocks.

    Attributes:
        image: The normalised view, (B, 3, H, W).
        mask: Boolean, (B, h, w), true where masked, on the host.
        feats: Outputs of the backbone.
        last: Its last map, (B, D, n, m); of some backbones in the masked
            places alone.
        norm: What makes local features ``p`` of it, place by place.
    """

    image: torch.Tensor
    mask: torch.Tensor
    feats: tuple
    last: torch.Tensor
    norm: nn.Module

    @cached_property
    def patches(self) -> torch.Tensor:
        """Map of the local features ``p``, (B, D, n, m)."""
        return self._normed(self.last)

    @cached_property
    def cells(self) -> torch.Tensor:
        """The mask, on the map's grid where it does not divide that grid.

        Raises:
            ValueError: If no place counts as masked.
        """
        return cells_of(self.mask, self.last.shape[2:])

    @cached_property
    def places(self) -> torch.Tensor:
        """Indices (M,) of the M masked cells, on the device."""
        places = self.cells.flatten().nonzero()[:, 0]
        return to_device(places, self.image.device)

    @property
    def owners(self) -> torch.Tensor:
        """The image of the batch that each masked cell belongs to, (M,)."""
        return self.places // self.cells[0].numel()

    @cached_property
    def blocks(self) -> torch.Tensor:
        """Local features of the masked cells, (M, D, k, k)."""
        return self._normed(self.cut(self.last))

    def cut(self, maps: torch.Tensor) -> torch.Tensor:
        """Cut the masked cells out of maps (B, C, H, W): (M, C, k, k)."""
        side = maps.shape[-1] // self.cells.shape[-1]
        return to_patches(maps, side).flatten(0, 2)[self.places]

    def _normed(self, maps: torch.Tensor) -> torch.Tensor:
        return self.norm(maps.movedim(1, -1)).movedim(-1, 1)


def cells_of(mask: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
    """Bring a mask to a feature map's grid where it does not divide it.

    Args:
        mask: Boolean, (B, h, w).
        grid: Height and width of the map.

    Raises:
        ValueError: If no place counts as masked.
    """
    cells = mask.shape[1:]
    divides = not any(n % h for n, h in zip(grid, cells, strict=True))
    return mask_on_grid(mask, cells if divides else grid)


def masked_tokens(
    mask: torch.Tensor, grid: Sequence[int]
) -> torch.Tensor | None:
    """Find class token and masked patches among the tokens of a view.

    Args:
        mask: Boolean, (B, h, w), true where masked.
        grid: Rows and columns of the patches.

    Returns:
        Indices (B, 1 + n) if n patches are masked in each image, otherwise
        ``None``.

    Raises:
        ValueError: If no patch counts as masked.
    """
    cells = cells_of(mask, grid)
    flat = expand_mask(cells, len(cells), grid).flatten(1)
    counts = flat.sum(1)
    if (counts != counts[0]).any():
        return None
    patches = flat.nonzero()[:, 1].view(len(flat), -1) + 1
    return F.pad(patches, (1, 0))


def one_column(blocks: torch.Tensor) -> torch.Tensor:
    """Stack blocks (M, C, k, k) to one map, (1, C, M * k, k)."""
    return blocks.movedim(0, 1).flatten(1, 2)[None]


def from_column(column: torch.Tensor, count: int) -> torch.Tensor:
    """Undo :func:`one_column` for ``count`` blocks."""
    return column[0].unflatten(1, (count, -1)).movedim(1, 0)
