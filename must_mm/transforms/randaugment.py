"""The published RandAugment: timm's ``rand-m9-mstd0.5-inc1``."""

import numpy as np
from mmpretrain.datasets import RandAugment
from mmpretrain.registry import TRANSFORMS

# MMPretrain's 'timm_increasing', operation by operation: the same draws and
# ranges, faster, and with Pillow's pixels. The exception is MMPretrain's own
# Rotate: OpenCV's bicubic weights are a little smoother, and Pillow's warp
# takes twice the time.
OPERATIONS = [
    dict(type='TableAutoContrast'),
    dict(type='TableEqualize'),
    dict(type='Invert'),
    dict(type='Rotate', magnitude_range=(0, 30)),
    dict(type='TablePosterize', magnitude_range=(4, 0)),
    dict(type='TableSolarize', magnitude_range=(256, 0)),
    dict(type='TableSolarizeAdd', magnitude_range=(0, 110)),
    dict(type='BlendColor', magnitude_range=(0, 0.9)),
    dict(type='TableContrast', magnitude_range=(0, 0.9)),
    dict(type='TableBrightness', magnitude_range=(0, 0.9)),
    dict(type='BlendSharpness', magnitude_range=(0, 0.9)),
    dict(type='RowShear', magnitude_range=(0, 0.3), direction='horizontal'),
    dict(type='RowShear', magnitude_range=(0, 0.3), direction='vertical'),
    dict(
        type='RowTranslate',
        magnitude_range=(0, 0.45),
        direction='horizontal',
    ),
    dict(
        type='RowTranslate',
        magnitude_range=(0, 0.45),
        direction='vertical',
    ),
]


@TRANSFORMS.register_module()
class PublishedRandAugment(RandAugment):
    """MMPretrain's ``RandAugment`` with the published settings.

    Two operations at magnitude 9 of 10, its standard deviation 0.5, each
    applied with probability 0.5; what comes in from outside has the mean
    colour.

    Args:
        options: What shall differ, by the names of ``RandAugment``'s
            arguments. ``policies='timm_increasing'`` takes MMPretrain's own
            operations, with the same draws.
    """

    def __init__(self, **options) -> None:
        settings = dict(
            policies=OPERATIONS,
            num_policies=2,
            total_level=10,
            magnitude_level=9,
            magnitude_std=0.5,
            hparams=dict(pad_val=[104, 117, 123], interpolation='bicubic'),
        )
        super().__init__(**settings | options)

    def transform(self, results: dict) -> dict:
        """Apply operations that are drawn with replacement."""
        drawn = np.random.randint(len(self.transforms), size=self.num_policies)
        for index in drawn:
            results = self.transforms[index](results)
        return results
