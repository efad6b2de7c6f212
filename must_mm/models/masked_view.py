"""The strong view as the masked student sees it, and its masked blocks."""

from dataclasses import dataclass
from functools import cached_property

import torch

from ..utils.distributed import to_device
from .local_features import mask_on_grid, to_patches


@dataclass(frozen=True)
class MaskedView:
    """A masked view with what the student makes of it.

    The mask is read on the host, where it comes from, so that no device has
    to wait for the number of masked blocks.

    Attributes:
        image: The normalised view, (B, 3, H, W).
        mask: Boolean, (B, h, w), true where masked, on the host.
        feats: Outputs of the backbone.
        patches: Map of the local features ``p``, (B, D, n, m).
    """

    image: torch.Tensor
    mask: torch.Tensor
    feats: tuple
    patches: torch.Tensor

    @cached_property
    def cells(self) -> torch.Tensor:
        """The mask, on the map's grid where it does not divide that grid.

        Raises:
            ValueError: If no place counts as masked.
        """
        grid, cells = self.patches.shape[2:], self.mask.shape[1:]
        divides = not any(n % h for n, h in zip(grid, cells, strict=True))
        return mask_on_grid(self.mask, cells if divides else grid)

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
        return self.cut(self.patches)

    def cut(self, maps: torch.Tensor) -> torch.Tensor:
        """Cut the masked cells out of maps (B, C, H, W): (M, C, k, k)."""
        side = maps.shape[-1] // self.cells.shape[-1]
        return to_patches(maps, side).flatten(0, 2)[self.places]


def one_column(blocks: torch.Tensor) -> torch.Tensor:
    """Stack blocks (M, C, k, k) to one map, (1, C, M * k, k)."""
    return blocks.movedim(0, 1).flatten(1, 2)[None]


def from_column(column: torch.Tensor, count: int) -> torch.Tensor:
    """Undo :func:`one_column` for ``count`` blocks."""
    return column[0].unflatten(1, (count, -1)).movedim(1, 0)
