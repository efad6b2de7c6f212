"""Fresh and reproducible noise: draws seeded by (seed, epoch, sample).

MMEngine seeds its loader workers alike at the start of every epoch, so the
same augmentations and masks come back each time, and persistent workers
cannot be restored when a run is resumed. Here the sampler sends the epoch
along with each index, and the first transform of the pipeline seeds the
generators from it: the noise is new in every epoch, the same for any number
of workers, and a resumed run draws what the uninterrupted one would have.
"""

import copy
import random
from collections.abc import Iterator

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import DefaultSampler
from mmpretrain.registry import DATA_SAMPLERS, TRANSFORMS

from .wrapping import parts_of


class EpochIndex(int):
    """A sample's index that knows the epoch and the seed of the run.

    ``repeat`` tells apart the times that a sample comes in one epoch; 0 is
    that of the pass over the data set. Data-set wrappers that compute the
    index of the data set inside from it keep what it knows: ``place`` is the
    index that the sampler gave.
    """

    def __new__(
        cls,
        index: int,
        epoch: int,
        seed: int,
        repeat: int = 0,
        place: int | None = None,
    ) -> 'EpochIndex':
        self = super().__new__(cls, index)
        self.epoch = epoch
        self.seed = seed
        self.repeat = repeat
        self.place = int(index) if place is None else place
        return self

    def __getnewargs__(self):
        return int(self), self.epoch, self.seed, self.repeat, self.place

    def at(self, index: int) -> 'EpochIndex':
        """The same draws for another index, that of a data set inside."""
        known = self.epoch, self.seed, self.repeat, self.place
        return EpochIndex(index, *known)

    def __mod__(self, other: int) -> 'EpochIndex':
        return self.at(int(self) % other)

    def __sub__(self, other: int) -> 'EpochIndex':
        return self.at(int(self) - other)


class _Table(list):
    """A wrapper's list of indices, which keeps what an index knows."""

    def __getitem__(self, index):
        found = super().__getitem__(index)
        return index.at(found) if isinstance(index, EpochIndex) else found


class _Asked(BaseException):
    """Tells which index a wrapper asks the data set inside for."""


class _Inside:
    """Stands in for the data set inside a wrapper."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset

    def __getattr__(self, name: str):
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index):
        raise _Asked(index)


def hand_on_epochs(dataset) -> None:
    """Make sure that wrappers hand on the epoch with the index.

    Args:
        dataset: A data set, or any wrapper of one, changed in place.

    Raises:
        TypeError: If a wrapper does not, so that all epochs would draw alike.
    """
    parts = parts_of(dataset)
    if not parts or not len(dataset):
        return
    for part in parts:
        hand_on_epochs(part)
    if isinstance(getattr(dataset, 'repeat_indices', None), list):
        dataset.repeat_indices = _Table(dataset.repeat_indices)
    stand_in = copy.copy(dataset)
    if getattr(dataset, 'datasets', None):
        stand_in.datasets = [_Inside(part) for part in parts]
    else:
        stand_in.dataset = _Inside(dataset.dataset)
    try:
        stand_in[EpochIndex(len(dataset) - 1, 0, 0)]
    except _Asked as asked:
        if isinstance(asked.args[0], EpochIndex):
            return
    raise TypeError(
        f"train_dataloader.dataset.type='{type(dataset).__name__}' does not "
        'hand on the index that EpochSampler gives: every epoch would repeat '
        'the draws of the first. RepeatDataset, ConcatDataset, '
        'ClassBalancedDataset, KFoldDataset and SkipBadImages do; or list the '
        'images as you want them in ann_file'
    )


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """MMEngine's :class:`DefaultSampler` with :class:`EpochIndex` indices.

    Takes the same arguments.

    Raises:
        TypeError: If the data set is wrapped in one that drops the epoch.
        ValueError: If ``round_up`` is off and the ranks would have different
            numbers of samples.
    """

    def __init__(self, dataset, *args, **kwargs) -> None:
        super().__init__(dataset, *args, **kwargs)
        hand_on_epochs(dataset)
        if not self.round_up and len(dataset) % self.world_size:
            raise ValueError(
                'train_dataloader.sampler.round_up=False gives some of the '
                f'{self.world_size} processes more of the {len(dataset)} '
                'samples than others, and these would wait for ever: leave '
                'round_up out'
            )

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
            getattr(index, 'place', int(index)),
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
