"""k-NN as a monitor while a model trains."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook

from must_mm.engine.knn_monitor import KNNMonitorHook, subset_loader
from must_mm.evaluation import extract_features, knn_accuracy
from tests.tiny import TEST_PIPELINE, build, dataset, train, weights


@pytest.fixture
def monitored(config, images):
    """The toy run with a monitor, and dropout that draws random numbers."""
    bank = config.val_dataloader.copy()
    bank.dataset = dataset(images, TEST_PIPELINE, 'permuted.txt')
    config.model.backbone.drop_rate = 0.2
    monitor = ConfigDict(
        type='KNNMonitorHook',
        bank_dataloader=bank,
        query_dataloader=config.val_dataloader,
        bank_size=20,
        query_size=15,
        k=3,
        feature='neck',
    )
    config.custom_hooks.append(monitor)
    # it needs no validation beside it
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    return config


class Looks(Hook):
    """What the monitor should see."""

    priority = 'LOWEST'

    def __init__(self):
        self.expected = []

    def before_train(self, runner):
        monitor = next(
            hook for hook in runner.hooks if isinstance(hook, KNNMonitorHook)
        )
        bank, queries = (
            extract_features(runner.model, loader, 'neck')
            for loader in monitor.loaders.values()
        )
        assert (len(bank.labels), len(queries.labels)) == (20, 15)
        self.expected.append(100 * knn_accuracy(*queries, *bank, k=3))

    after_train_epoch = before_train


@pytest.mark.parametrize(
    'interval, logged', [(1, [0, 1, 2, 3]), (2, [0, 2, 3])]
)
def test_start_interval_and_last_epoch_are_logged(monitored, interval, logged):
    monitored.default_hooks.checkpoint = None
    monitored.custom_hooks[-1].interval = interval
    looks = Looks()
    runner = train(monitored, looks)
    values, _ = runner.message_hub.get_scalar('knn/top1').data
    assert list(values) == [looks.expected[epoch] for epoch in logged]
    assert runner.model.training


def test_weights_are_the_same_without(monitored):
    monitored.train_cfg.max_epochs = 1
    data = monitored.train_dataloader.dataset
    # it restarts the generator at every sample, which would hide a draw
    data.pipeline = [
        step for step in data.pipeline if step['type'] != 'SeedSample'
    ]
    with_monitor = weights(train(monitored))
    monitored.custom_hooks.pop()
    without = weights(train(monitored))
    for name, value in without.items():
        assert torch.equal(value, with_monitor[name]), name


def test_resume_does_not_repeat_the_start(monitored):
    monitored.train_cfg.max_epochs = 1
    train(monitored)
    monitored.train_cfg.max_epochs, monitored.resume = 2, True
    values, _ = train(monitored).message_hub.get_scalar('knn/top1').data
    assert len(values) == 3  # start and epoch 1 come from the checkpoint


def test_subset_is_free_of_earlier_copies(config):
    """MMEngine's get_subset looks objects up by the ids of freed ones."""
    (copied,) = BaseDataset._copy_without_annotation.__defaults__
    before = len(copied)
    subset = subset_loader(config.val_dataloader, 12).dataset
    assert len(subset) == len(list(subset)) == 12
    assert len(copied) == before


def test_subset_is_drawn_from_all_classes(config):
    """The first 12 of the 24 images would be two of the four classes."""
    small, again = (subset_loader(config.val_dataloader, 12) for _ in '12')
    labels = small.dataset.get_gt_labels()
    assert len(small.dataset) == 12 and len(set(labels)) == 4
    assert list(labels) == list(again.dataset.get_gt_labels())
    other = subset_loader(config.val_dataloader, 12, seed=1)
    assert list(labels) != list(other.dataset.get_gt_labels())
    for size in (None, 24, 100):
        assert len(subset_loader(config.val_dataloader, size).dataset) == 24


@pytest.mark.parametrize(
    'key, value',
    [
        ('k', 0),
        ('k', 2.5),
        ('bank_size', 0),
        ('interval', -1),
        ('temperature', 0.0),
    ],
)
def test_out_of_range_names_the_key(key, value):
    with pytest.raises(ValueError, match=f'KNNMonitorHook.{key} .*{value}'):
        KNNMonitorHook({}, {}, **{key: value})


def test_k_larger_than_the_bank_fails_before_training(monitored):
    monitored.custom_hooks[-1].k = 21
    runner = build(monitored)
    with pytest.raises(ValueError, match='k is 21, its bank has 20 images'):
        runner.train()
    assert runner.iter == 0
