"""A recipe on another total batch than the published one."""

from pathlib import Path

import pytest
from mmengine.config import Config

from must_mm.engine.ema_teacher import EMATeacherHook
from must_mm.runs.batch_rule import (
    KEY,
    count_processes,
    follow_batch,
    total_batch,
)
from must_mm.utils.paths import config_path
from tests.tiny import launch


def recipe(**changes) -> Config:
    cfg = Config.fromfile(config_path('must/vit-b16_food101.py'))
    cfg.merge_from_dict(changes)
    return cfg


def ema(cfg: Config) -> dict:
    return cfg.custom_hooks[0]


@pytest.mark.parametrize(
    'processes, per_process, accumulation, ratio',
    [(16, 64, 1, 1), (8, 64, 1, 1 / 2), (8, 64, 4, 2), (1, 32, 1, 1 / 32)],
)
def test_rate_follows_and_the_teacher_counts_images(
    processes, per_process, accumulation, ratio
):
    cfg = recipe(
        **{
            'train_dataloader.batch_size': per_process,
            'optim_wrapper.accumulative_counts': accumulation,
        }
    )
    assert total_batch(cfg, processes) == 1024 * ratio
    before = dict(ema(cfg))
    follow_batch(cfg, processes)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(8e-5 * ratio)
    assert dict(ema(cfg)) == dict(before, images_per_update=1024)
    # the floor is a ratio of the rate and follows it
    assert cfg.param_scheduler.eta_min_ratio == 1e-6 / 2e-5


@pytest.mark.parametrize(
    'name, processes, ratio',
    [
        ('vit-b16_byol_stage3', 4, 1 / 2),
        ('vit-h14_stage2', 1, 1 / 8),
        ('quickstart_digits_stage2', 1, 1),
        ('quickstart_digits_stage3', 2, 2),
    ],
)
def test_both_rates_of_mae_ct_follow(name, processes, ratio):
    cfg = Config.fromfile(config_path(f'mae_ct/{name}.py'))
    wrapper = cfg.optim_wrapper
    lr, head_lr = wrapper.optimizer.lr, wrapper.paramwise_cfg.head_lr
    said = follow_batch(cfg, processes)
    assert wrapper.optimizer.lr == lr * ratio
    assert wrapper.paramwise_cfg.head_lr == head_lr * ratio
    assert f'of the head {head_lr:.4g} -> {head_lr * ratio:.4g}' in said


@pytest.mark.parametrize(
    'kind', ['EMATeacherHook', 'mmpretrain.EMATeacherHook', EMATeacherHook]
)
def test_the_hook_is_known_by_any_name(kind):
    cfg = recipe()
    ema(cfg).type = kind
    follow_batch(cfg, 4)
    assert ema(cfg).images_per_update == 1024


def test_it_is_said():
    output = follow_batch(recipe(), 4)
    for part in (
        'total batch 256 (4 processes x 64 images x 1 accumulated)',
        'published batch 1024',
        'learning rate 8e-05 -> 2e-05',
        'teacher is updated once per 1024 images',
    ):
        assert part in output


def test_scaled_once():
    """The config that MMEngine saves holds the values of the run."""
    cfg = recipe()
    follow_batch(cfg, 4)
    saved = Config(cfg.to_dict())
    follow_batch(saved, 4)
    assert saved.to_dict() == cfg.to_dict()


def test_absent_without_a_published_batch():
    cfg = Config.fromfile(config_path('must/quickstart_digits.py'))
    before = cfg.to_dict()
    assert follow_batch(cfg, 2) is None
    assert cfg.to_dict() == before


@pytest.mark.parametrize('value', [0, -1, None, '1024', 10.5])
def test_published_batch_is_a_number(value):
    cfg = recipe()
    cfg[KEY] = value
    with pytest.raises(ValueError, match='published_batch must be a positive'):
        follow_batch(cfg, 1)


def test_mmengine_does_not_scale_as_well():
    scale = dict(base_batch_size=1024)
    assert follow_batch(recipe(auto_scale_lr=scale), 1)  # it is not enabled
    with pytest.raises(ValueError, match='auto_scale_lr.* both scale'):
        follow_batch(recipe(auto_scale_lr=dict(scale, enable=True)), 1)


def test_processes(monkeypatch):
    assert count_processes('none') == 1
    for launcher, name in (
        ('pytorch', 'WORLD_SIZE'),
        ('slurm', 'SLURM_NTASKS'),
        ('mpi', 'OMPI_COMM_WORLD_SIZE'),
    ):
        monkeypatch.setenv(name, '8')
        assert count_processes(launcher) == 8
        monkeypatch.delenv(name)
        with pytest.raises(ValueError, match=f'needs {name}'):
            count_processes(launcher)


def test_the_train_tool_applies_it(config, tmp_path):
    """From the command line to optimizer and hook, batch 8 of 16."""
    config.published_batch = 16
    config.log_level = 'INFO'
    config.dump(tmp_path / 'tiny.py')
    runner = launch('train', tmp_path / 'tiny.py')
    assert runner.cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-3 / 2)
    log = Path(runner.log_dir, f'{runner.timestamp}.log').read_text()
    assert 'total batch 8 (1 processes x 8 images x 1 accumulated)' in log
    hooks = {type(hook).__name__: hook for hook in runner.hooks}
    assert hooks['EMATeacherHook'].images_per_update == 16
