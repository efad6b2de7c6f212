"""Fresh and reproducible noise: draws seeded by (seed, epoch, sample).

MMEngine seeds its loader workers alike at the start of every epoch, so the
same augmentations and masks come back each time, and persistent workers
cannot be restored when a run is resumed. Here the sampler sends the epoch
along with each index, and the first transform of the pipeline seeds the
generators from it: the noise is new in every epoch, the same for any number
of workers, and a resumed run draws what the uninterrupted one would have.
"""

import random
from collections.abc import Iterator

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import DefaultSampler
from mmpretrain.registry import DATA_SAMPLERS, TRANSFORMS


class EpochIndex(int):
    """A sample's index that knows the epoch and the seed of the run.

    ``repeat`` tells apart the times that a sample comes in one epoch; 0 is
    that of the pass over the data set.
    """

    def __new__(
        cls, index: int, epoch: int, seed: int, repeat: int = 0
    ) -> 'EpochIndex':
        self = super().__new__(cls, index)
        self.epoch = epoch
        self.seed = seed
        self.repeat = repeat
        return self

    def __getnewargs__(self):
        return int(self), self.epoch, self.seed, self.repeat


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """MMEngine's :class:`DefaultSampler` with :class:`EpochIndex` indices."""

    def __iter__(self) -> Iterator[EpochIndex]:
        """Iterate over this rank's part of the shuffled data set."""
        for index in super().__iter__():
            yield EpochIndex(index, self.epoch, self.seed)


@TRANSFORMS.register_module()
class SeedSample(BaseTransform):
    """Seeds Python, NumPy and torch for the transforms that follow.

    Put it before the first random transform, and :class:`EpochSampler` into
    the data loader. The run's seed is ``randomness.seed``.
    """

    def transform(self, results: dict) -> dict:
        """Seed the generators; ``results`` passes unchanged.

        A plain index, as tools that browse a data set use, counts as the
        first epoch of seed 0.
        """
        index = results['sample_idx']
        entropy = (
            getattr(index, 'seed', 0),
            getattr(index, 'epoch', 0),
            int(index),
        )
        if getattr(index, 'repeat', 0):
            entropy += (index.repeat,)
        python, numpy, pytorch = (
            int(word)
            for word in np.random.SeedSequence(entropy).generate_state(3)
        )
        random.seed(python)
        np.random.seed(numpy)
        # torch.manual_seed would seed every accelerator too, which takes ten
        # times as long as all the rest here and no transform draws there
        torch.default_generator.manual_seed(pytorch)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
