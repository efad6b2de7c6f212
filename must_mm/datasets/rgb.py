"""Images that come as RGB arrays, put in the order of images from files."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RGBToBGR(BaseTransform):
    """Takes the place of ``LoadImageFromFile`` for CIFAR.

    MMPretrain's CIFAR holds RGB arrays, everything that reads files BGR. With
    this one step all recipes share their views and their preprocessor.
    """

    def transform(self, results: dict) -> dict:
        """Reverse the channels of ``img``, uint8, (H, W, 3)."""
        image = np.ascontiguousarray(results['img'][..., ::-1])
        results.update(
            img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2]
        )
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
