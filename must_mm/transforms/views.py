"""Several views from one decoding, no larger than they need."""

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose
from mmpretrain.registry import TRANSFORMS

from ..utils.validation import check_number
from .crops import Crop
from .loading import EncodedImage


def planes(image: np.ndarray) -> torch.Tensor:
    """Turn uint8, (H, W, 3), into (3, H, W), faster than a permuted copy."""
    found = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, list(found))  # writes into these
    return torch.from_numpy(found)


@TRANSFORMS.register_module()
class CropViews(BaseTransform):
    """MMPretrain's ``MultiView`` for views that begin with a crop.

    The crops are drawn first, from the size of the image alone. What
    ``LoadImage(lazy=True)`` left encoded is then decoded once, at the
    smallest scale that leaves every crop enough pixels.

    Args:
        transforms: A list of transforms for each view. The first is
            :class:`EdgeCrop` or :class:`AreaCrop`; a view that begins with
            anything else has the image decoded in full.
        margin: How many times as many pixels a side as it is resized to a
            crop keeps when the image is decoded at a reduced scale. A
            decoder's averaging is coarser than that of the resizing, which
            hides it the better the more it has to do.

    Raises:
        ValueError: If the margin is less than 1, which would enlarge pixels.
    """

    def __init__(
        self, transforms: list[list[dict]], margin: float = 1.5
    ) -> None:
        check_number('CropViews.margin', margin, '[1, inf)')
        if not all(transforms):
            raise ValueError(
                'CropViews.transforms: every view needs at least one transform'
            )
        self.views = [Compose(steps) for steps in transforms]
        self.margin = margin

    def transform(self, results: dict) -> dict:
        """Replace ``img`` by the list of views, uint8, (3, H, W), BGR.

        Raises:
            UnreadableImage: If what is decoded here is damaged.
        """
        image = results['img']
        reduced = 1
        if isinstance(image, EncodedImage):
            source = image
            crops = self._draw(source.size)
            reduced = self._reduction(crops)
            image = source.decode(reduced)
            expected = [-(-side // reduced) for side in source.size]
            if [*image.shape[:2]] != expected:
                # the decoders understand its orientation differently
                image, reduced = source.decode(), 1
                crops = self._draw(image.shape)
        else:
            crops = self._draw(image.shape)
        views = []
        for view, crop in zip(self.views, crops, strict=True):
            steps = view.transforms
            inputs = dict(results)
            if crop:
                steps = steps[1:]
                inputs['img'] = crop.cut(image, reduced)
            else:
                inputs['img'] = image.copy()
            for step in steps:
                inputs = step(inputs)
            views.append(planes(inputs['img']))
        return dict(results, img=views)

    def _draw(self, shape: tuple[int, ...]) -> list[Crop | None]:
        """The crop of each view; ``None`` for one without."""
        first = [view.transforms[0] for view in self.views]
        return [
            step.draw(shape) if hasattr(step, 'draw') else None
            for step in first
        ]

    def _reduction(self, crops: list[Crop | None]) -> int:
        """How many times smaller the image may be decoded."""
        if None in crops:
            return 1
        return max(
            times
            for times in EncodedImage.REDUCED
            if times == 1
            or all(crop.shrinks(times * self.margin) for crop in crops)
        )

    def __repr__(self) -> str:
        views = ''.join(f'\n{view}' for view in self.views)
        return f'CropViews(margin={self.margin}, views:{views})'
