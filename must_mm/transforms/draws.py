"""The draws of MMPretrain's augmentations, without what they do not need."""

import numpy as np
from mmpretrain.datasets.transforms.auto_augment import BaseAugTransform


class PlainDraws(BaseAugTransform):
    """Draws as ``BaseAugTransform``, which it stands before.

    There each draw goes through MMCV's cache for transforms that repeat one,
    which copies the operation first: it takes longer than most operations.
    """

    def random_disable(self) -> bool:
        """Draw whether to leave the image alone."""
        return np.random.rand() > self.prob

    def random_magnitude(self) -> float:
        """Draw a magnitude."""
        level = self.magnitude_level
        if self.magnitude_std == 'inf':
            level = np.random.uniform(0, level)
        elif self.magnitude_std > 0:
            level = np.random.normal(level, self.magnitude_std)
            level = min(max(level, 0), self.total_level)
        low, high = self.magnitude_range
        return level / self.total_level * (high - low) + low

    def random_negative(self, value: float) -> float:
        """Draw a sign."""
        negative = np.random.rand() < self.random_negative_prob
        return -value if negative else value
