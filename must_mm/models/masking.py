"""Block masks on the strong view, and what stands in their place.

A learned token where the backbone embeds patches, a learned colour where it
has none. Both offer ``hide(backbone, mask)``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn as nn
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS

from ..utils.validation import check_integer, check_number


def expand_mask(
    mask: torch.Tensor, batch: int, grid: Sequence[int]
) -> torch.Tensor:
    """Repeat the cells of a mask up to a finer grid.

    Args:
        mask: Boolean, (B, h, w).
        batch: Number of images, which must be B.
        grid: Height and width of the grid, multiples of h and w.

    Returns:
        Boolean, ``(B, *grid)``.

    Raises:
        ValueError: If the mask does not fit.
    """
    rows, columns = mask.shape[1:]
    whole = mask.repeat_interleave(grid[0] // rows, 1)
    whole = whole.repeat_interleave(grid[1] // columns, 2)
    if tuple(whole.shape) != (batch, *grid):
        raise ValueError(
            f'the mask has shape {tuple(mask.shape)}, the grid to mask '
            f'{(batch, *grid)}, which is no multiple: set '
            'MUSTMaskGenerator.input_size and model_patch_size to the '
            "view's size and a multiple of the backbone's patch size"
        )
    return whole


@MODELS.register_module()
class MaskToken(BaseModule):
    """A learned token that replaces the embeddings of masked patches.

    It is put in place by a hook on the backbone's ``patch_embed``, so it
    works on any MMPretrain backbone that has one, before position embeddings
    are added, and leaves the backbone's code and parameter names alone.

    Args:
        embed_dims: Width ``D`` of the patch embeddings.
        init_std: Standard deviation of the normal initialisation.

    Raises:
        ValueError: If a value is out of its range.
    """

    def __init__(self, embed_dims: int, init_std: float = 0.02) -> None:
        super().__init__()
        check_integer('model.masking.embed_dims', embed_dims)
        check_number('model.masking.init_std', init_std, '[0, inf)')
        self.init_std = init_std
        self.token = nn.Parameter(torch.zeros(1, 1, embed_dims))

    def init_weights(self) -> None:
        """Draw the token from N(0, ``init_std``)."""
        nn.init.normal_(self.token, std=self.init_std)

    @contextmanager
    def hide(self, backbone: nn.Module, mask: torch.Tensor) -> Iterator[None]:
        """Hide the patches in every forward pass within the context.

        Args:
            backbone: A backbone whose ``patch_embed`` returns ``(patches,
                grid)`` with patches of shape (B, N, D).
            mask: Boolean, (B, h, w), on the grid of the patches or a coarser
                one that divides it; true where masked.

        Raises:
            ValueError: If the mask does not fit the patch grid.
        """

        def replace(_module, _inputs, output):
            patches, grid = output
            masked = expand_mask(mask, len(patches), grid)
            masked = masked.flatten(1).unsqueeze(-1)
            token = self.token.to(patches.dtype)
            return torch.where(masked, token, patches), grid

        handle = backbone.patch_embed.register_forward_hook(replace)
        try:
            yield
        finally:
            handle.remove()


@MODELS.register_module()
class MaskColour(BaseModule):
    """A learned colour that replaces the pixels of masked blocks.

    The counterpart of :class:`MaskToken` for any backbone: it is put in place
    by a hook before the backbone, which never sees the masked pixels.

    Args:
        channels: Channels of the image.
        init_std: Standard deviation of the normal initialisation around the
            mean colour, which is 0 after normalisation.

    Raises:
        ValueError: If a value is out of its range.
    """

    def __init__(self, channels: int = 3, init_std: float = 0.02) -> None:
        super().__init__()
        check_integer('model.masking.channels', channels)
        check_number('model.masking.init_std', init_std, '[0, inf)')
        self.init_std = init_std
        self.colour = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def init_weights(self) -> None:
        """Draw the colour from N(0, ``init_std``)."""
        nn.init.normal_(self.colour, std=self.init_std)

    @contextmanager
    def hide(self, backbone: nn.Module, mask: torch.Tensor) -> Iterator[None]:
        """Hide the pixels in every forward pass within the context.

        Args:
            backbone: Any backbone that takes images (B, C, H, W).
            mask: Boolean, (B, h, w), where h divides H and w divides W;
                true where masked.

        Raises:
            ValueError: If the mask does not fit the images.
        """

        def replace(_module, inputs):
            (images,) = inputs
            pixels = expand_mask(mask, len(images), images.shape[2:])
            colour = self.colour.to(images.dtype)
            return (torch.where(pixels.unsqueeze(1), colour, images),)

        handle = backbone.register_forward_pre_hook(replace)
        try:
            yield
        finally:
            handle.remove()


def mask_for(backbone: nn.Module) -> MaskToken | MaskColour:
    """Build the finest mask that hides pixels from a backbone entirely.

    A token, if the patches that the backbone embeds do not overlap; otherwise
    the neighbours of a masked patch would still see its pixels, and a colour
    hides them.
    """
    projection = getattr(
        getattr(backbone, 'patch_embed', None), 'projection', None
    )
    if (
        isinstance(projection, nn.Conv2d)
        and projection.kernel_size == projection.stride
    ):
        return MaskToken(backbone.embed_dims)
    return MaskColour()
