"""Unreadable images are replaced, named, counted and limited."""

import json
import logging
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import DATASETS

from must_mm.datasets.seeding import EpochIndex
from must_mm.datasets.skip_bad_images import (
    SkipBadImages,
    TooManyBadImages,
    following,
)
from must_mm.transforms.loading import UnreadableImage
from tests.tiny import TRAIN_PIPELINE, build, dataset, train, write_images

PIPELINE = [dict(type='LoadImage'), *TRAIN_PIPELINE[1:]]


@pytest.fixture
def photos(tmp_path):
    """The toy images; three of them (0, 1 and 23) cannot be read."""
    folder = write_images(tmp_path / 'photos')
    images = folder / 'images'
    (images / 'ant' / '0.png').write_bytes(b'')
    (images / 'ant' / '1.png').write_text('no image')
    (images / 'dog' / '5.png').unlink()
    return folder


def skipping(photos, limit: int = 100) -> dict:
    """Config of the toy images; the type of the set has another name."""
    options = dataset(photos, PIPELINE)
    return dict(
        options,
        type='SkipBadImages',
        dataset=options['type'],
        max_bad_images=limit,
    )


def names(bad: dict) -> set[str]:
    return {'/'.join(path.split('/')[-2:]) for path in bad}


# ----------------------------------------------------------------- data set


def test_the_next_image_stands_in(photos):
    data = DATASETS.build(skipping(photos))
    assert isinstance(data, SkipBadImages) and len(data) == 24
    for bad, instead, skipped in (
        (0, 2, {'ant/0.png', 'ant/1.png'}),
        (1, 2, {'ant/1.png'}),
        (23, 2, {'dog/5.png', 'ant/0.png', 'ant/1.png'}),
    ):
        # with the noise of this epoch
        sample = data[EpochIndex(bad, 3, 1)]
        expected = data[EpochIndex(instead, 3, 1)]
        for one, other in zip(
            sample['inputs'], expected['inputs'], strict=True
        ):
            assert torch.equal(one, other)
        assert names(sample['data_samples'].bad_images) == skipped
        assert 'bad_images' not in expected['data_samples']


def test_following_keeps_epoch_and_seed():
    after = following(EpochIndex(23, 3, 1), 24)
    assert (after, after.epoch, after.seed) == (0, 3, 1)
    assert following(4, 24) == 5


def test_none_can_be_read(photos):
    for image in (photos / 'images').glob('*/*.png'):
        image.write_bytes(b'')
    data = DATASETS.build(skipping(photos))
    with pytest.raises(TooManyBadImages, match='24 images cannot be read'):
        data[0]


def test_takes_a_config_as_mmengines_wrappers_do(photos):
    part = dataset(photos, PIPELINE)
    data = DATASETS.build(dict(type='SkipBadImages', dataset=part))
    assert names(data[1]['data_samples'].bad_images) == {'ant/1.png'}
    with pytest.raises(TypeError, match=r'dataset\.dataset must be str or'):
        DATASETS.build(dict(type='SkipBadImages', dataset=data))


def test_wraps_what_wraps_others(photos):
    part = dataset(photos, PIPELINE)
    data = DATASETS.build(
        dict(type='SkipBadImages', dataset='ConcatDataset', datasets=[part])
    )
    data.full_init()
    assert data.metainfo['classes'] == part['metainfo']['classes']
    assert len(data) == 24
    assert data.get_data_info(7)['gt_label'] == 1
    assert names(data[1]['data_samples'].bad_images) == {'ant/1.png'}


def test_limit_is_checked(photos):
    with pytest.raises(
        ValueError,
        match='dataset.max_bad_images must be an integer of at least 0',
    ):
        DATASETS.build(skipping(photos, limit=-1))


def test_without_the_wrapper_the_first_one_stops_with_its_name(photos):
    data = DATASETS.build(dataset(photos, PIPELINE))
    with pytest.raises(UnreadableImage, match=r'ant/0\.png: the file is empt'):
        data[0]


# --------------------------------------------------------------------- runs


@pytest.fixture
def run_config(config, photos):
    config.train_dataloader.dataset = skipping(photos)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.test_dataloader = config.test_cfg = config.test_evaluator = None
    # all 24 images in every epoch
    config.merge_from_dict(dict(train_cfg=dict(max_epochs=2)))
    return config


def warnings_of(caplog) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING
        and re.search('skipped|unreadable', record.getMessage())
    ]


class Batches(Hook):
    """Keeps what is trained on."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(torch.stack(data_batch['inputs']))


@pytest.mark.onedl
def test_named_once_and_counted_by_any_number_of_workers(
    run_config, logged, tmp_path
):
    """Two epochs with no worker and with two: the same batches and counts."""
    batches = []
    for workers in (0, 2):
        logged.clear()
        run_config.train_dataloader.num_workers = workers
        run_config.work_dir = str(tmp_path / f'workers{workers}')
        seen = Batches()
        runner = train(run_config, seen)
        batches.append(seen.seen)

        bad = json.loads(
            (tmp_path / f'workers{workers}' / 'bad_images.json').read_text()
        )
        reasons = {path.split('/')[-2:][1]: why for path, why in bad.items()}
        assert reasons == {
            '0.png': 'the file is empty',
            '1.png': 'no known image format',
            '5.png': 'there is no such file',
        }
        assert runner.message_hub.get_info('unreadable_images') == 3
        skipped = [m for m in warnings_of(logged) if m.startswith('skipped')]
        assert len(skipped) == 3 == len(set(skipped))
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize('workers', [0, 1])
def test_too_many_stop_the_run(run_config, workers):
    run_config.train_dataloader.num_workers = workers
    run_config.train_dataloader.dataset.max_bad_images = 2
    with pytest.raises(
        TooManyBadImages,
        match=r'3 images cannot be read, train_dataloader\.dataset'
        r'\.max_bad_images allows 2 \([^)]*\.png: [^)]*\)\. Repair or remove',
    ):
        train(run_config)


def test_as_many_as_allowed_do_not(run_config):
    run_config.train_dataloader.dataset.max_bad_images = 3
    run_config.train_cfg.max_epochs = 1
    assert train(run_config).iter == 3


WRAPPERS = {
    1: lambda part: dict(type='RepeatDataset', times=2, dataset=part),
    2: lambda part: dict(type='ConcatDataset', datasets=[part, part]),
}


@pytest.mark.parametrize('allowed', WRAPPERS)
def test_the_limit_is_found_within_wrappers(run_config, photos, allowed):
    """Two bad files, no two in a row; parts may have as many together."""
    write_images(photos)
    for place in ('ant/1.png', 'dog/4.png'):
        (photos / 'images' / place).write_bytes(b'')
    run_config.train_cfg.max_epochs = 1
    part = skipping(photos, limit=1)
    run_config.train_dataloader.dataset = WRAPPERS[allowed](part)
    if allowed == 2:
        assert train(run_config).iter == 6
        return
    with pytest.raises(TooManyBadImages, match='2 images.*allows 1'):
        train(run_config)


def test_resumed_run_counts_on(run_config, photos, tmp_path):
    """A file found bad before, repaired since, still counts: once."""
    run_config.train_cfg.max_epochs = 1
    train(run_config)
    (photos / 'images' / 'bee' / '0.png').write_bytes(b'')
    (photos / 'images' / 'ant' / '0.png').write_bytes(
        (photos / 'images' / 'ant' / '2.png').read_bytes()
    )
    run_config.merge_from_dict(dict(resume=True, train_cfg=dict(max_epochs=2)))
    resumed = build(run_config)
    resumed.train()
    bad = json.loads((tmp_path / 'run' / 'bad_images.json').read_text())
    assert names(bad) == {'ant/0.png', 'ant/1.png', 'dog/5.png', 'bee/0.png'}


def test_evaluation_names_an_unreadable_image(config, photos):
    """An accuracy over fewer images would look like any other."""
    pipeline = [
        dict(type='LoadImage'),
        *config.val_dataloader.dataset.pipeline[1:],
    ]
    config.val_dataloader.dataset = dataset(photos, pipeline)
    with pytest.raises(UnreadableImage, match=r'ant/0\.png'):
        build(config).val()
