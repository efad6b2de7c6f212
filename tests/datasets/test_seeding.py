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
    index = pickle.loads(pickle.dumps(EpochIndex(7, 3, 1)))
    assert (index, index.epoch, index.seed) == (7, 3, 1)
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
