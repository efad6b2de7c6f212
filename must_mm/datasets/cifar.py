"""CIFAR with channels in the order of images from files."""

import mmpretrain.datasets as mmpretrain
import numpy as np
from mmpretrain.registry import DATASETS


class _BGR:
    """Images as BGR arrays, uint8, (32, 32, 3).

    MMPretrain's CIFAR holds RGB, everything that reads files BGR. Turned
    here, all recipes share their views and their preprocessor, and a model
    sees the images of an inferencer as it has seen CIFAR's.
    """

    def load_data_list(self) -> list[dict]:
        """List images and labels."""
        return [
            dict(info, img=np.ascontiguousarray(info['img'][..., ::-1]))
            for info in super().load_data_list()
        ]


@DATASETS.register_module()
class CIFAR10BGR(_BGR, mmpretrain.CIFAR10):
    """MMPretrain's CIFAR10 in BGR; takes the same arguments."""


@DATASETS.register_module()
class CIFAR100BGR(_BGR, mmpretrain.CIFAR100):
    """MMPretrain's CIFAR100 in BGR; takes the same arguments."""
