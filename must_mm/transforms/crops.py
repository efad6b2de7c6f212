"""Crops whose geometry is drawn before a pixel is known, then cut.

Cutting resizes with antialiased interpolation on bytes: Pillow's, which the
published views use, within a level, by torch's vectorised kernel.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.datasets import RandomResizedCrop
from mmpretrain.registry import TRANSFORMS
from torch.nn.functional import interpolate

from ..utils.validation import check_integer, check_number, check_type

INTERPOLATIONS = ('bicubic', 'bilinear')


def resize(
    image: np.ndarray, size: tuple[int, int], interpolation: str = 'bicubic'
) -> np.ndarray:
    """Resize with antialiased interpolation.

    Args:
        image: uint8, (H, W, 3).
        size: Height and width.
        interpolation: One of :data:`INTERPOLATIONS`.

    Returns:
        uint8, ``(*size, 3)``.
    """
    # the batch's axis first: torch then sees that colours lie side by side,
    # keeps them so and takes its fastest kernel
    pixels = torch.from_numpy(image)[None].permute(0, 3, 1, 2)
    pixels = interpolate(pixels, size=size, mode=interpolation, antialias=True)
    return np.ascontiguousarray(pixels[0].permute(1, 2, 0).numpy())


@dataclass(frozen=True)
class Crop:
    """A part of an image, resized, and a window of the result.

    Attributes:
        part: Top, left, height and width in the image.
        size: Height and width that the part is resized to.
        window: Top, left, height and width in the resized part.
        mirrored: Whether left and right change places at the end.
        interpolation: One of :data:`INTERPOLATIONS`.
    """

    part: tuple[int, int, int, int]
    size: tuple[int, int]
    window: tuple[int, int, int, int]
    mirrored: bool = False
    interpolation: str = 'bicubic'

    def shrinks(self, times: float) -> bool:
        """Whether the part has so many times as many pixels a side."""
        sides = self.part[2:]
        return all(
            side >= times * small
            for side, small in zip(sides, self.size, strict=True)
        )

    def cut(self, image: np.ndarray, reduced: int = 1) -> np.ndarray:
        """Cut the crop out of an image.

        Args:
            image: uint8, (H, W, 3).
            reduced: How many times shorter its sides are than those of the
                image that the crop was drawn for. Edges that fall between
                pixels move to the nearest.

        Returns:
            uint8, (h, w, 3) of the window.
        """
        top, left, height, width = self.part
        rows, columns = (
            slice(
                (start + reduced // 2) // reduced,
                (start + side + reduced // 2) // reduced,
            )
            for start, side in ((top, height), (left, width))
        )
        part = image[rows, columns]
        part = resize(part, self.size, self.interpolation)
        y, x, height, width = self.window
        part = part[y : y + height, x : x + width]
        return cv2.flip(part, 1) if self.mirrored else part


class RandomCropBase(BaseTransform):
    """What both crops share: checks, and cutting an image that is at hand."""

    def __init__(self, size: int, interpolation: str) -> None:
        name = type(self).__name__
        check_integer(f'{name}.size', size)
        if interpolation not in INTERPOLATIONS:
            raise ValueError(
                f'{name}.interpolation must be one of {INTERPOLATIONS}, got '
                f'{interpolation!r}'
            )
        self.size, self.interpolation = size, interpolation

    def draw(self, shape: tuple[int, ...]) -> Crop:
        """Draw a crop of an image of this height and width."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Replace ``img`` by a crop of it."""
        results['img'] = self.draw(results['img'].shape).cut(results['img'])
        results['img_shape'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class EdgeCrop(RandomCropBase):
    """The weak view: resize the shorter edge, keep a random square.

    An image that shrinks is cut before it is resized, at the nearest pixels:
    what will not be seen costs nothing.

    Args:
        size: Side of the square, in pixels.
        edge: Length of the shorter edge it is cut from, ``size`` by default.
        interpolation: One of :data:`INTERPOLATIONS`.

    Raises:
        ValueError: If a value is out of its range, or the edge is shorter.
    """

    def __init__(
        self,
        size: int,
        edge: int | None = None,
        interpolation: str = 'bicubic',
    ) -> None:
        super().__init__(size, interpolation)
        self.edge = size if edge is None else edge
        check_integer('EdgeCrop.edge', self.edge, size)

    def draw(self, shape: tuple[int, ...]) -> Crop:
        """Draw a crop of an image of this height and width."""
        height, width = shape[:2]
        side, short = self.size, min(height, width)
        rows = int(self.edge * height / short)
        columns = int(self.edge * width / short)
        top = np.random.randint(rows - side + 1)
        left = np.random.randint(columns - side + 1)
        if short < self.edge:
            # pixels of the image are too coarse to cut along
            return Crop(
                (0, 0, height, width),
                (rows, columns),
                (top, left, side, side),
                interpolation=self.interpolation,
            )
        down, right = height / rows, width / columns
        part = top * down, left * right, side * down, side * right
        return Crop(
            tuple(map(round, part)),
            (side, side),
            (0, 0, side, side),
            interpolation=self.interpolation,
        )

    def __repr__(self) -> str:
        return (
            f'EdgeCrop(size={self.size}, edge={self.edge}, '
            f'interpolation={self.interpolation!r})'
        )


@TRANSFORMS.register_module()
class AreaCrop(RandomCropBase):
    """The strong view's crop: a random share of the image, made square.

    MMPretrain's ``RandomResizedCrop`` draws it.

    Args:
        size: Side of the square, in pixels.
        share: Smallest and largest share of the image's area.
        flip: Probability to mirror it.
        interpolation: One of :data:`INTERPOLATIONS`.

    Raises:
        ValueError: If a value is out of its range, or the larger share comes
            first.
    """

    def __init__(
        self,
        size: int,
        share: tuple[float, float] = (0.3, 1.0),
        flip: float = 0.0,
        interpolation: str = 'bicubic',
    ) -> None:
        super().__init__(size, interpolation)
        check_type('AreaCrop.share', share, list, tuple)
        for value in share:
            check_number('AreaCrop.share', value, '(0, 1]')
        if len(share) != 2 or share[0] > share[1]:
            raise ValueError(
                'AreaCrop.share must be the smallest and the largest share, '
                f'got {share!r}'
            )
        check_number('AreaCrop.flip', flip, '[0, 1]')
        self.share, self.flip = tuple(share), flip
        self._crop = RandomResizedCrop(size, crop_ratio_range=share)

    def draw(self, shape: tuple[int, ...]) -> Crop:
        """Draw a crop of an image of this height and width."""
        part = self._crop.rand_crop_params(SimpleNamespace(shape=shape))
        size = (self.size, self.size)
        mirrored = np.random.rand() < self.flip
        return Crop(
            tuple(map(int, part)),
            size,
            (0, 0, *size),
            mirrored,
            self.interpolation,
        )

    def __repr__(self) -> str:
        return (
            f'AreaCrop(size={self.size}, share={self.share}, '
            f'flip={self.flip}, interpolation={self.interpolation!r})'
        )
