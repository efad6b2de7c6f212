"""Loader processes: from the cores, not a constant; options win."""

import argparse

import pytest
from mmengine.config import Config

from must_mm.runs import launch
from must_mm.runs.loader_workers import follow_cores, loader_workers


@pytest.mark.parametrize(
    'cores, processes, workers',
    [(1, 1, 1), (2, 1, 1), (8, 1, 7), (64, 1, 12), (128, 8, 12), (64, 8, 7)],
)
def test_the_rule(cores, processes, workers):
    assert loader_workers(cores, processes) == workers


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setattr(
        'os.sched_getaffinity', lambda _: range(32), raising=False
    )
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')


def test_where_a_config_asks_for_it(machine):
    cfg = Config(
        dict(train_dataloader=dict(num_workers=4), val_dataloader=None)
    )
    follow_cores(cfg)
    assert cfg.train_dataloader.num_workers == 4
    cfg.workers_follow_cores = True
    follow_cores(cfg)
    assert cfg.train_dataloader.num_workers == 7


def test_an_option_has_the_last_word(machine):
    args = argparse.Namespace(
        config='configs/must/vit-b16_imagenet.py',
        cfg_options={'val_dataloader.num_workers': 2},
        launcher='none',
        work_dir=None,
    )
    cfg = launch.load_config(args)
    assert cfg.train_dataloader.num_workers == 7
    assert cfg.val_dataloader.num_workers == 2
