"""Local features: the last feature map of any backbone.

MUST reads them from the patches of a vision transformer (Sec. 3.2 and 3.3);
here a backbone may return tokens or a map, or pool them away, in which case
they are taken from the module that made them.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn as nn
import torch.nn.functional as F


@contextmanager
def capture(
    backbone: nn.Module, module: str | None
) -> Iterator[list[torch.Tensor]]:
    """Collect what a module of the backbone returns within the context.

    Args:
        backbone: The backbone.
        module: Name of the module in it; ``None`` collects nothing.

    Yields:
        The list that is filled, one output for each forward pass.

    Raises:
        ValueError: If the backbone has no such module.
    """
    captured: list[torch.Tensor] = []
    if module is None:
        yield captured
        return
    try:
        source = backbone.get_submodule(module)
    except AttributeError as error:
        names = ', '.join(name for name, _ in backbone.named_children())
        raise ValueError(
            f'model.local_features: {type(backbone).__name__} has no module '
            f'{module!r}; it consists of {names}'
        ) from error
    handle = source.register_forward_hook(
        lambda _module, _inputs, output: captured.append(output)
    )
    try:
        yield captured
    finally:
        handle.remove()


def to_map(feature: torch.Tensor, extra_tokens: int = 0) -> torch.Tensor:
    """Bring the last feature of a backbone to a map.

    Args:
        feature: Tokens (B, extra + n * n, D), or a map (B, D, n, n).
        extra_tokens: How many tokens come before those of the patches.

    Returns:
        The map, (B, D, n, n).

    Raises:
        ValueError: If the feature has no places, or not those of a square
            view.
    """
    found = f'the last feature of model.backbone is {tuple(feature.shape)}'
    if feature.ndim == 3:
        patches = feature[:, extra_tokens:]
        side = math.isqrt(patches.shape[1])
        if side * side == patches.shape[1]:
            return patches.transpose(1, 2).unflatten(2, (side, side))
        raise ValueError(
            f'{found}: without {extra_tokens} extra tokens, these are not '
            'the tokens of a square view'
        )
    if feature.ndim == 4:
        if feature.shape[2] == feature.shape[3]:
            return feature
        raise ValueError(
            f'{found}, not the map (B, D, n, n) of a square view with the '
            'channels first'
        )
    raise ValueError(
        f'{found}: pooled, no local feature is left. Set '
        'model.local_features to the module of the backbone that returns '
        "its last feature map, such as 'layers.11' of a vision transformer "
        "or 'stages.3' of ConvNeXt"
    )


def unit_length(feature: torch.Tensor) -> torch.Tensor:
    """Scale features (..., D) to unit length."""
    return F.normalize(feature, dim=-1)


def to_patches(images: torch.Tensor, side: int) -> torch.Tensor:
    """Cut images (B, C, H, W) into patches (B, n, m, C, side, side)."""
    cut = images.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return cut.permute(0, 2, 4, 1, 3, 5)


def mask_on_grid(mask: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
    """Bring a mask to the grid of the feature map.

    A location counts as masked if at least half of its cell is. On the
    mask's own grid nothing changes.

    Args:
        mask: Boolean, (B, h, w).
        grid: Height and width of the feature map.

    Returns:
        Boolean, ``(B, *grid)``.

    Raises:
        ValueError: If no location of the batch counts as masked.
    """
    grid = tuple(grid)
    if grid != tuple(mask.shape[1:]):
        mask = F.adaptive_avg_pool2d(mask.float(), grid) >= 0.5
    if not mask.any():
        raise ValueError(
            f'no location of the {grid[0]} x {grid[1]} feature map is masked '
            'by half or more: set MUSTMaskGenerator.mask_patch_size to a '
            'multiple of its stride'
        )
    return mask
