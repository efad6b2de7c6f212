"""Noise by (seed, epoch, sample), whoever draws it."""

import pickle
import random

import numpy as np
import pytest
import torch
from mmpretrain.registry import DATA_SAMPLERS, TRANSFORMS

from must_mm.datasets.seeding import EpochIndex, EpochSampler, SeedSample
from tests.tiny import BATCH, TRAIN_PIPELINE, build, dataset, tiny_config


def draws(index) -> tuple:
    SeedSample()(dict(sample_idx=index))
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_same_triple_same_noise():
    assert draws(EpochIndex(7, 3, 1)) == draws(EpochIndex(7, 3, 1))


def test_each_generator_depends_on_each_of_the_triple():
    reference = draws(EpochIndex(7, 3, 1))
    for other in ((8, 3, 1), (7, 4, 1), (7, 3, 2), (3, 7, 1)):
        for one, another in zip(
            reference, draws(EpochIndex(*other)), strict=True
        ):
            assert one != another


def test_plain_index_counts_as_first_epoch_of_seed_zero():
    assert draws(7) == draws(EpochIndex(7, 0, 0))


def test_results_pass_unchanged():
    results = dict(sample_idx=EpochIndex(7, 3, 1), img='img')
    assert SeedSample()(dict(results)) == results


def test_index_pickles_and_counts_as_an_integer():
    index = pickle.loads(pickle.dumps(EpochIndex(9, 3, 1) - 2))
    assert (index, index.epoch, index.seed, index.place) == (7, 3, 1, 9)
    assert list('abcdefgh')[index] == 'h'


def test_parts_are_registered():
    assert TRANSFORMS.get('SeedSample') is SeedSample
    assert DATA_SAMPLERS.get('EpochSampler') is EpochSampler


def test_sampler_sends_epoch_and_seed():
    sampler = EpochSampler(list(range(9)), shuffle=True, seed=5)
    passes = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        indices = list(sampler)
        assert sorted(indices) == list(range(9))
        assert {(i.epoch, i.seed) for i in indices} == {(epoch, 5)}
        passes.append([int(i) for i in indices])
    assert passes[0] != passes[1]


def batches(config, workers: int, epochs=(0, 1), **options) -> list:
    """The training batches of some epochs, through the runner's loader."""
    config.train_dataloader.num_workers = workers
    config.train_dataloader.update(options)
    runner = build(config)
    loader = runner.build_dataloader(config.train_dataloader, seed=3)
    found = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        found.append(
            [
                (
                    torch.stack(batch['inputs']),
                    torch.stack([s.mask for s in batch['data_samples']]),
                )
                for batch in loader
            ]
        )
    return found


@pytest.fixture
def plain(images, tmp_path):
    return tiny_config(images, tmp_path / 'run')


def test_batches_do_not_depend_on_the_number_of_workers(plain):
    expected = batches(plain, workers=0)
    for workers, options in (
        (1, {}),
        (2, {}),
        (1, dict(persistent_workers=True)),
    ):
        found = batches(plain, workers, **options)
        for one, other in zip(expected, found, strict=True):
            for ours, theirs in zip(one, other, strict=True):
                assert torch.equal(ours[0], theirs[0])
                assert torch.equal(ours[1], theirs[1])


def test_a_later_epoch_alone_is_the_same(plain):
    """What a resumed run draws is what the uninterrupted run draws."""
    both = batches(plain, workers=2)
    (later,) = batches(plain, workers=2, epochs=(1,))
    for ours, theirs in zip(both[1], later, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize('workers', [0, 2])
def test_every_epoch_draws_fresh_noise(plain, workers):
    plain.train_dataloader.sampler.shuffle = False
    first, second = batches(plain, workers)
    masks_differ = 0
    for ours, theirs in zip(first, second, strict=True):
        for image in range(BATCH):
            # the strong view of every sample is another one
            assert not torch.equal(ours[0][1, image], theirs[0][1, image])
            masks_differ += not torch.equal(ours[1][image], theirs[1][image])
    # six masks are possible: of 24 pairs about 20 differ, all by chance
    # alike has a probability of 6 ** -24
    assert masks_differ > 0


def test_the_pipeline_passes_labels_and_masks_on(images):
    from mmpretrain.registry import DATASETS

    data = DATASETS.build(dataset(images, TRAIN_PIPELINE))
    sample = data[EpochIndex(6, 0, 0)]
    assert len(sample['inputs']) == 2
    assert sample['data_samples'].mask.shape == (4, 4)
    assert sample['data_samples'].gt_label.item() == 1


WRAPPERS = {
    'repeat': lambda part: dict(type='RepeatDataset', times=2, dataset=part),
    'concat': lambda part: dict(type='ConcatDataset', datasets=[part, part]),
    'balanced': lambda part: dict(
        type='ClassBalancedDataset', oversample_thr=0.9, dataset=part
    ),
    'folds': lambda part: dict(
        type='KFoldDataset', num_splits=3, fold=1, dataset=part
    ),
    'skip': lambda part: dict(
        part, type='SkipBadImages', dataset=part['type']
    ),
    'nested': lambda part: dict(
        type='ConcatDataset',
        datasets=[part, dict(type='RepeatDataset', times=2, dataset=part)],
    ),
}


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_wrapped_data_sets_draw_fresh_noise(plain, images, wrapper):
    """In every epoch, with every seed, and for each place of a sample."""
    part = dataset(images, TRAIN_PIPELINE)
    plain.train_dataloader.dataset = WRAPPERS[wrapper](part)
    runner = build(plain)
    loader = runner.build_dataloader(plain.train_dataloader, seed=3)
    sampler = loader.sampler
    last = len(loader.dataset) - 1
    sampler.shuffle = False

    def view(epoch, seed, at=last):
        sampler.set_epoch(epoch)
        sampler.seed = seed
        return loader.dataset[list(sampler)[at]]['inputs'][1]

    first = view(0, 3)
    assert torch.equal(first, view(0, 3))
    assert not torch.equal(first, view(1, 3))
    assert not torch.equal(first, view(0, 4))
    if wrapper == 'repeat':  # the same image twice, in one epoch
        assert not torch.equal(first, view(0, 3, at=last // 2))


class Forgetful:
    """A wrapper of somebody else, with a table of its own."""

    def __init__(self, inner):
        self.dataset = inner
        self.order = list(range(len(inner)))

    def __len__(self):
        return len(self.order)

    def __getitem__(self, index):
        return self.dataset[self.order[index]]


def test_a_wrapper_that_drops_the_epoch_is_refused():
    with pytest.raises(TypeError, match="type='Forgetful'.*draws of the fir"):
        EpochSampler(Forgetful(list(range(9))))


def test_ranks_with_more_samples_than_others(monkeypatch):
    monkeypatch.setattr(
        'mmengine.dataset.sampler.get_dist_info', lambda: (0, 2)
    )
    assert len(EpochSampler(list(range(9)))) == 5
    assert len(EpochSampler(list(range(8)), round_up=False)) == 4
    with pytest.raises(ValueError, match='round_up=False.*9 samples'):
        EpochSampler(list(range(9)), round_up=False)
