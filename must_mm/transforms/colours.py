"""MMPretrain's operations on colours as tables: each byte is looked up once.

Draws, magnitudes and probabilities are those of MMPretrain's operations, on
which these build; the colours are Pillow's, fractions cut off as there.
"""

import cv2
import mmpretrain.datasets as mm
import numpy as np
from mmpretrain.registry import TRANSFORMS

from .draws import PlainDraws

BYTES = np.arange(256)
#: Added before rounding, it cuts fractions off; whole numbers stay.
CUT = -0.499


def _bytes(values: np.ndarray) -> np.ndarray:
    """Clip to bytes and cut fractions off."""
    return np.clip(values, 0, 255).astype(np.uint8)


def _blend(image: np.ndarray, other: np.ndarray, factor: float) -> np.ndarray:
    """Go from the other image to this one, and beyond where factor > 1."""
    return cv2.addWeighted(image, factor, other, 1 - factor, CUT)


class TableMixin(PlainDraws):
    """An operation that replaces each byte by another.

    Before a class of MMPretrain's, whose draws it takes.
    """

    def table(self, image: np.ndarray) -> np.ndarray:
        """Build the table for an image, BGR.

        Returns:
            uint8, (256,), or (256, 3) for a table for each channel.
        """
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Apply the operation with its probability."""
        if self.random_disable():
            return results
        image = results['img']
        table = self.table(image)
        if table.ndim == 2:
            table = np.ascontiguousarray(table)[None]
        results['img'] = cv2.LUT(image, table)
        return results

    def factor(self) -> float:
        """Draw how far to go: 1 changes nothing, and 0.1 is the least."""
        return max(0.1, 1 + self.random_negative(self.random_magnitude()))


@TRANSFORMS.register_module()
class TableAutoContrast(TableMixin, mm.AutoContrast):
    """Stretch each channel from its darkest to its brightest value."""

    def table(self, image: np.ndarray) -> np.ndarray:
        """Build the table of each channel."""
        ranges = [cv2.minMaxLoc(plane)[:2] for plane in cv2.split(image)]
        low, high = np.array(ranges).T
        flat = high <= low
        scale = 255 / np.where(flat, 1, high - low)
        table = BYTES[:, None] * scale - low * scale
        return np.where(flat, BYTES[:, None].astype(np.uint8), _bytes(table))


@TRANSFORMS.register_module()
class TableEqualize(TableMixin, mm.Equalize):
    """Spread the values of each channel evenly."""

    def table(self, image: np.ndarray) -> np.ndarray:
        """Build the table of each channel."""
        planes = cv2.split(image)
        return np.stack([self._channel(plane) for plane in planes], axis=1)

    @staticmethod
    def _channel(plane: np.ndarray) -> np.ndarray:
        counts = cv2.calcHist([plane], [0], None, [256], [0, 256])
        counts = counts.ravel().astype(int)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        if not step:
            return BYTES.astype(np.uint8)
        below = np.cumsum(counts) - counts
        return _bytes((below + step // 2) // step)


@TRANSFORMS.register_module()
class TablePosterize(TableMixin, mm.Posterize):
    """Keep the high bits; none of them leaves black."""

    def table(self, image: np.ndarray) -> np.ndarray:
        """Build the table."""
        dropped = 8 - int(np.ceil(self.random_magnitude()))
        return (BYTES >> dropped << dropped).astype(np.uint8)


@TRANSFORMS.register_module()
class TableSolarize(TableMixin, mm.Solarize):
    """Invert what is bright."""

    def table(self, image: np.ndarray) -> np.ndarray:
        """Build the table."""
        bright = self.random_magnitude() <= BYTES
        return np.where(bright, 255 - BYTES, BYTES).astype(np.uint8)


@TRANSFORMS.register_module()
class TableSolarizeAdd(TableMixin, mm.SolarizeAdd):
    """Brighten what is dark."""

    def table(self, image: np.ndarray) -> np.ndarray:
        """Build the table."""
        more = _bytes(BYTES + self.random_magnitude())
        return np.where(self.thr > BYTES, more, BYTES.astype(np.uint8))


@TRANSFORMS.register_module()
class TableContrast(TableMixin, mm.Contrast):
    """Go away from the mean grey, or towards it."""

    def table(self, image: np.ndarray) -> np.ndarray:
        """Build the table."""
        grey = int(cv2.mean(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))[0] + 0.5)
        return _bytes(grey + self.factor() * (BYTES - grey))


@TRANSFORMS.register_module()
class TableBrightness(TableMixin, mm.Brightness):
    """Go away from black, or towards it."""

    def table(self, image: np.ndarray) -> np.ndarray:
        """Build the table."""
        return _bytes(self.factor() * BYTES)


class BlendMixin(TableMixin):
    """An operation that mixes an image with a simpler one."""

    def simpler(self, image: np.ndarray) -> np.ndarray:
        """Make the image it is mixed with."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Apply the operation with its probability."""
        if self.random_disable():
            return results
        image = results['img']
        simpler = self.simpler(image)
        results['img'] = _blend(image, simpler, self.factor())
        return results


@TRANSFORMS.register_module()
class BlendColor(BlendMixin, mm.ColorTransform):
    """Go away from grey, or towards it."""

    def simpler(self, image: np.ndarray) -> np.ndarray:
        """Make it grey."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)


@TRANSFORMS.register_module()
class BlendSharpness(BlendMixin, mm.Sharpness):
    """Go away from a smoothed image, or towards it."""

    SMOOTH = np.float32([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13

    def simpler(self, image: np.ndarray) -> np.ndarray:
        """Smooth all but the outermost pixels, which Pillow leaves."""
        smooth = cv2.filter2D(image, -1, self.SMOOTH)
        for edge in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:]):
            smooth[edge] = image[edge]
        return smooth
