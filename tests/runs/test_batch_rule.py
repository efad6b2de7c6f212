"""A recipe on another total batch than the published one."""

from pathlib import Path

import pytest
from mmengine.config import Config

from must_mm.models.ema import ema_decay
from must_mm.runs.batch_rule import (
    KEY,
    count_processes,
    follow_batch,
    scale_ema,
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
def test_rates_decays_and_ramp(processes, per_process, accumulation, ratio):
    cfg = recipe(
        **{
            'train_dataloader.batch_size': per_process,
            'optim_wrapper.accumulative_counts': accumulation,
        }
    )
    assert total_batch(cfg, processes) == 1024 * ratio
    follow_batch(cfg, processes)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(8e-5 * ratio)
    assert ema(cfg).decay_start == pytest.approx(0.999**ratio, abs=1e-12)
    assert ema(cfg).decay_end == pytest.approx(0.9998**ratio, abs=1e-12)
    assert ema(cfg).warmup_steps == 2000 / ratio
    # the floor is a ratio of the rate and follows it
    assert cfg.param_scheduler.eta_min_ratio == 1e-6 / 2e-5


def test_teacher_forgets_as_fast_an_image():
    """Constant decay: after the same images, the same weight of the start.

    d ** (B / 1024) over 1024 / B times the steps is d again.
    """
    for ratio in (1 / 32, 1 / 2, 4):
        (start, _), ramp = scale_ema((0.99, 0.9998), 2000, ratio)
        remembered = start ** (64 / ratio)
        assert remembered == pytest.approx(0.99**64, rel=1e-12)
        half = ema_decay(ramp // 2, 0.0, 1.0, ramp)
        assert half == pytest.approx(0.5, abs=1e-2)


def test_it_is_said():
    output = follow_batch(recipe(), 4)
    for part in (
        'total batch 256 (4 processes x 64 images x 1 accumulated)',
        'published batch 1024',
        'learning rate 8e-05 -> 2e-05',
        'EMA decay 0.999 -> 0.99975',
        'EMA decay 0.9998 -> 0.99995',
        'ramp 2000 -> 8000 steps',
    ):
        assert part in output


def test_defaults_of_the_teacher_are_scaled():
    cfg, bare = recipe(), recipe()
    for hook in bare.custom_hooks:
        if hook.type == 'EMATeacherHook':
            for key in ('decay_start', 'decay_end', 'warmup_steps'):
                hook.pop(key)
    assert follow_batch(bare, 4) == follow_batch(cfg, 4)
    assert bare.to_dict() == cfg.to_dict()


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
    assert hooks['EMATeacherHook'].decay_start == pytest.approx(0.5**0.5)
    assert hooks['EMATeacherHook'].warmup_steps == 8
