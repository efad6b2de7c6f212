"""Loader processes: from the cores, unless somebody states a number."""

import argparse

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from must_mm.runs import launch
from must_mm.runs.loader_workers import follow_cores, loader_workers
from must_mm.utils.paths import config_path


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
        dict(
            train_dataloader=dict(num_workers=True),
            val_dataloader=None,
            test_dataloader=dict(num_workers=1),
        )
    )
    follow_cores(cfg)
    assert cfg.train_dataloader.num_workers == 7
    assert cfg.test_dataloader.num_workers == 1


def load(config, **options) -> Config:
    args = argparse.Namespace(
        config=str(config),
        cfg_options=options,
        launcher='none',
        work_dir=None,
    )
    return launch.load_config(args)


RECIPES = [
    'must/vit-b16_imagenet',
    'must/vit-b16_custom',
    'mae_ct/vit-l16_stage2',
]


@pytest.mark.parametrize('name', RECIPES)
def test_a_stated_number_has_the_last_word(machine, tmp_path, name):
    """Of an option, and of a config that inherits a recipe."""
    recipe = config_path(f'{name}.py')
    assert load(recipe).train_dataloader.num_workers == 7
    options = {'train_dataloader.num_workers': 2}
    assert load(recipe, **options).train_dataloader.num_workers == 2
    for number in (0, 1, 4, 40):
        (tmp_path / 'own.py').write_text(
            f'_base_ = [{str(recipe)!r}]\n'
            f'train_dataloader = dict(num_workers={number})\n'
        )
        found = load(tmp_path / 'own.py').train_dataloader.num_workers
        assert found == number and found is not True


def test_other_tools_take_it_for_one(config):
    """They build the loader as the recipe has it."""
    recipe = Config.fromfile(config_path('must/vit-b16_imagenet.py'))
    loader = config.train_dataloader
    for key in ('num_workers', 'persistent_workers', 'pin_memory'):
        loader[key] = recipe.train_dataloader[key]
    loader = Runner.build_dataloader(loader, seed=0)
    assert loader.num_workers == 1
    assert len(list(loader)) == 3
