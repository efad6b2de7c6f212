"""Fresh and reproducible noise: draws seeded by (seed, epoch, sample).

MMEngine seeds its loader workers alike at the start of every epoch, so the
same augmentations and masks come back each time, and persistent workers
cannot be restored when a run is resumed. Here the sampler sends the epoch
along with each index, and the first transform of the pipeline seeds the
generators from it: the noise is new in every epoch, the same for any number
of workers, and a resumed run draws what the uninterrupted one would have.
"""
import random
from typing import Iterator

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import DefaultSampler

from mmpretrain.registry import DATA_SAMPLERS, TRANSFORMS


class EpochIndex(int):
    """A sample's index that knows the epoch it is drawn in."""

    def __new__(cls, index: int, epoch: int) -> 'EpochIndex':
        self = super().__new__(cls, index)
        self.epoch = epoch
        return self

    def __getnewargs__(self):
        return int(self), self.epoch


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """MMEngine's :class:`DefaultSampler` with :class:`EpochIndex` indices."""

    def __iter__(self) -> Iterator[EpochIndex]:
        """Iterate over this rank's part of the shuffled data set."""
        for index in super().__iter__():
            yield EpochIndex(index, self.epoch)


@TRANSFORMS.register_module()
class SeedSample(BaseTransform):
    """Seeds Python, NumPy and torch for the transforms that follow.

    Put it before the first random transform. ``sample_idx`` comes from the
    data set; with another sampler than :class:`EpochSampler` every epoch
    draws the same noise.

    Args:
        seed: Seed of the run's noise, not negative.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def transform(self, results: dict) -> dict:
        """Seed the generators; ``results`` passes unchanged."""
        index = results['sample_idx']
        entropy = (self.seed, getattr(index, 'epoch', 0), int(index))
        python, numpy, pytorch = (
            int(word) for word in np.random.SeedSequence(
                entropy).generate_state(3))
        random.seed(python)
        np.random.seed(numpy)
        torch.manual_seed(pytorch)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(seed={self.seed})'
