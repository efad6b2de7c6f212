"""Shear and translate: rows or columns that move, bicubic, as in Pillow.

Each pixel moves along one direction alone, so four neighbours are enough
where a general warp takes sixteen. The weights are those of Pillow's
transforms, which the published operations use: cubic convolution with a = -1.
OpenCV's has -0.75, which leaves less of fine detail.
"""

import cv2
import mmpretrain.datasets as mm
import numpy as np
from mmpretrain.registry import TRANSFORMS
from numpy.lib.stride_tricks import sliding_window_view

from .colours import CUT
from .draws import PlainDraws


def cubic_weights(fraction: np.ndarray) -> np.ndarray:
    """Weights of four neighbours in a row.

    Args:
        fraction: How far a point lies behind the second, in [0, 1).

    Returns:
        float32, ``(4, *fraction.shape)``.
    """
    d = np.asarray(fraction, np.float32)
    square, cube = d * d, d * d * d
    return np.stack(
        [
            -d + 2 * square - cube,
            1 - 2 * square + cube,
            d + square - cube,
            cube - square,
        ]
    )


def move_rows(
    image: np.ndarray, moves: np.ndarray, fill: tuple[int, ...]
) -> np.ndarray:
    """Move each row to the left, by its own number of pixels.

    Args:
        image: uint8, (H, W, 3).
        moves: (H,), in pixels; negative ones move to the right.
        fill: Colour of what comes in from outside.

    Returns:
        uint8, (H, W, 3).
    """
    height, width = image.shape[:2]
    whole = np.floor(moves).astype(int)
    # beyond the edge the outermost pixel counts
    border = int(np.abs(whole).max()) + 2
    wide = cv2.copyMakeBorder(
        image, 0, 0, border, border, cv2.BORDER_REPLICATE
    )
    near = np.empty((height, width + 3, 3), np.uint8)
    for row, start in enumerate((whole + border - 1).tolist()):
        near[row] = wide[row, start : start + width + 3]
    neighbours = sliding_window_view(
        near.reshape(height, -1).astype(np.float32), 3 * width, axis=1
    )[:, ::3]
    moved = np.einsum('ky,ykx->yx', cubic_weights(moves - whole), neighbours)
    moved = _pixels(moved).reshape(image.shape)
    # columns whose centres come from inside the image
    first, last = _inside(width, moves)
    columns = np.arange(width)
    inside = (columns >= first[:, None]) & (columns < last[:, None])
    return cv2.copyTo(moved, inside.view(np.uint8), _plain(image, fill))


def _inside(width: int, moves: np.ndarray | float) -> tuple:
    """First column, and the one after the last, that come from inside."""
    return (
        np.maximum(np.ceil(-0.5 - moves), 0).astype(int),
        np.minimum(np.ceil(width - 0.5 - moves), width).astype(int),
    )


def _plain(image: np.ndarray, fill: tuple[int, ...]) -> np.ndarray:
    """An image of the same size and one colour."""
    row = np.tile(np.uint8(fill), image.shape[1])
    return np.tile(row, (len(image), 1)).reshape(image.shape)


def _pixels(values: np.ndarray) -> np.ndarray:
    """Clip to bytes and cut fractions off, fast for a whole image."""
    return cv2.add(values, np.full(4, CUT), dtype=cv2.CV_8U)


def translate_rows(
    image: np.ndarray, move: float, fill: tuple[int, ...]
) -> np.ndarray:
    """:func:`move_rows` by one number, in one filter."""
    width = image.shape[1]
    first, last = _inside(width, move)
    if first >= last:
        return _plain(image, fill)
    whole = int(np.floor(move))
    start, stop = first + whole - 1, last + whole + 2
    part = image[:, max(start, 0) : min(stop, width)]
    part = cv2.copyMakeBorder(
        part, 0, 0, max(-start, 0), max(stop - width, 0), cv2.BORDER_REPLICATE
    )
    part = cv2.filter2D(
        part, -1, cubic_weights(move - whole)[None], None, (0, 0), CUT
    )
    return cv2.copyMakeBorder(
        part[:, : last - first],
        *(0, 0, int(first), int(width - last)),
        cv2.BORDER_CONSTANT,
        value=fill,
    )


class MoveMixin(PlainDraws):
    """An operation that moves pixels along rows or along columns."""

    def transform(self, results: dict) -> dict:
        """Apply the operation with its probability."""
        if self.random_disable():
            return results
        image = results['img']
        turned = self.direction == 'vertical'
        if turned:
            image = cv2.transpose(image)
        magnitude = self.random_negative(self.random_magnitude())
        image = self.move(image, magnitude)
        results['img'] = cv2.transpose(image) if turned else image
        return results


@TRANSFORMS.register_module()
class RowShear(MoveMixin, mm.Shear):
    """Shear: each row moves by its distance from the top."""

    def move(self, image: np.ndarray, magnitude: float) -> np.ndarray:
        """Move the rows of an image."""
        centres = np.arange(len(image)) + 0.5
        return move_rows(image, magnitude * centres, self.pad_val)


@TRANSFORMS.register_module()
class RowTranslate(MoveMixin, mm.Translate):
    """Translate: all rows move alike."""

    def move(self, image: np.ndarray, magnitude: float) -> np.ndarray:
        """Move the rows of an image."""
        move = magnitude * image.shape[1]
        return translate_rows(image, move, self.pad_val)
