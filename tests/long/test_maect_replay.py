"""Equality with the recorded steps of the published MAE-CT head."""

import json

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from tests.long.maect_replay import (
    MAECTRecorder,
    compare_maect,
    maect_replay_config,
)
from tests.long.recordings import config_change, perturbed
from tests.long.replay import main, replay
from tests.tiny import DATA

RECORDINGS = ['maect_head_init', 'maect_tuning_top1']
STEPWISE = {
    'loss',
    'grad_view0',
    'grad_view1',
    'projected0',
    'projected1',
    'predicted0',
    'predicted1',
    'queue_after',
    'queue_id_after',
    'queue_ptr_after',
}
FINAL = {
    'queue',
    'queue_y',
    'queue_id',
    'queue_ptr',
    'projector',
    'predictor',
}


def rows_of(path) -> dict[str, float]:
    (rows,) = replay(path)
    return {row.name: row.error for row in rows}


@pytest.mark.parametrize('name', RECORDINGS)
def test_every_quantity_is_reproduced(name):
    """1e-5, a tenth of the tool's tolerance: float32 over five steps."""
    found = rows_of(DATA / f'{name}.npz')
    final = FINAL | ({'target_projector'} if 'tuning' in name else set())
    assert set(found) == {f'{key} (worst step)' for key in STEPWISE} | {
        f'final {part} (worst)' for part in final
    }
    assert all(error <= 1e-5 for error in found.values()), found
    for exact in ('queue_id_after', 'queue_ptr_after'):
        assert found[f'{exact} (worst step)'] == 0


@pytest.mark.onedl
def test_tool_passes(capsys):
    assert main([str(DATA / f'{RECORDINGS[1]}.npz')]) == 0
    printed = capsys.readouterr().out
    assert 'FAILED' not in printed
    rows = [line for line in printed.splitlines() if line.endswith('ok')]
    assert len(rows) == len(STEPWISE) + len(FINAL) + 1


def all_one_sample(content):
    """No entry may then be a neighbour of any other."""
    for step in range(5):
        content[f'step{step}/sample_id'][:] = 7


@pytest.mark.parametrize(
    'change, row',
    [
        (config_change(temperature=0.21), 'loss (worst step)'),
        (config_change(target_decay=0.98), 'final target_projector (worst)'),
        (all_one_sample, 'loss (worst step)'),
    ],
)
def test_another_setting_fails(tmp_path, change, row):
    """The test of the test: what is off is seen, in the right row."""
    assert rows_of(perturbed(tmp_path, change, RECORDINGS[1]))[row] > 1e-4


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Train once; compare the same run with any reference."""
    path = DATA / f'{RECORDINGS[1]}.npz'
    cfg = maect_replay_config(path, str(tmp_path_factory.mktemp('replay')))
    cfg.log_level = 'WARNING'
    runner, recorder = Runner.from_cfg(cfg), MAECTRecorder()
    runner.register_hook(recorder)
    runner.train()
    return lambda path: compare_maect(runner, recorder, np.load(path))


@pytest.mark.parametrize(
    'key, row',
    [
        ('step2/loss', 'loss (worst step)'),
        ('step0/grad_view1', 'grad_view1 (worst step)'),
        ('step4/projected0', 'projected0 (worst step)'),
        ('step1/predicted1', 'predicted1 (worst step)'),
        ('step3/queue_after', 'queue_after (worst step)'),
        ('step3/queue_id_after', 'queue_id_after (worst step)'),
        ('step1/queue_ptr_after', 'queue_ptr_after (worst step)'),
        ('final/queue', 'final queue (worst)'),
        ('final/queue_y', 'final queue_y (worst)'),
        ('final/predictor.3.weight', 'final predictor (worst)'),
        ('final/projector.4.running_var', 'final projector (worst)'),
        ('final/target_projector.0.weight', 'final target_projector (worst)'),
    ],
)
def test_another_reference_value_fails_in_its_row(run, tmp_path, key, row):
    """A change of one per mille against a tolerance of 0.1 per mille."""

    def change(content):
        value = content[key]
        whole = np.issubdtype(value.dtype, np.integer)
        content[key] = value + 1 if whole else value * 1.001

    rows = run(perturbed(tmp_path, change, RECORDINGS[1]))
    assert {r.name for r in rows if not r.error <= 1e-4} == {row}


def test_random_draws_cannot_be_replayed(tmp_path):
    path = perturbed(tmp_path, config_change(topk=5), RECORDINGS[1])
    with pytest.raises(ValueError, match='random draws from the 5 nearest'):
        replay(path)


def test_other_sizes_run(tmp_path):
    """A file of the format with other sizes and random content."""
    rng = np.random.default_rng(0)
    sizes = dict(
        embed_dims=10,
        batch=4,
        queue_size=12,
        out_dim=6,
        proj_hidden=14,
        pred_hidden=9,
        temperature=0.3,
        target_decay=0.9,
        topk=0,
        steps=3,
    )
    content = dict(config=np.array(json.dumps(sizes)))

    def fill(name, *shape):
        content[name] = rng.normal(size=shape).astype(np.float32)

    def norm(name, width):
        for part in ('weight', 'bias', 'running_mean'):
            fill(f'{name}.{part}', width)
        content[f'{name}.running_var'] = np.ones(width, np.float32)
        content[f'{name}.num_batches_tracked'] = np.array(0)

    for projector in ('init/projector', 'init/target_projector'):
        widths = (10, 14, 14, 6)
        for layer in range(3):
            fill(
                f'{projector}.{3 * layer}.weight',
                *widths[layer : layer + 2][::-1],
            )
            norm(f'{projector}.{3 * layer + 1}', widths[layer + 1])
    fill('init/predictor.0.weight', 9, 6)
    norm('init/predictor.1', 9)
    fill('init/predictor.3.weight', 6, 9)
    fill('init/queue', 12, 6)
    for name in ('queue_y', 'queue_id'):
        content[f'init/{name}'] = np.full(12, -1)
    content['init/queue_ptr'] = np.array([0])
    for step in range(3):
        for view in (0, 1):
            fill(f'step{step}/view{view}', 4, 10)
        content[f'step{step}/sample_id'] = np.arange(4) + 4 * step
        content[f'step{step}/label'] = np.arange(4) % 3
    path = tmp_path / 'other.npz'
    np.savez(path, **content)
    cfg = maect_replay_config(path, str(tmp_path / 'run'))
    cfg.log_level = 'WARNING'
    runner, recorder = Runner.from_cfg(cfg), MAECTRecorder()
    runner.register_hook(recorder)
    runner.train()
    assert len(recorder.steps) == 3
    assert torch.equal(recorder.steps[-1]['queue_id_after'], torch.arange(12))
    assert recorder.steps[-1]['projected0'].shape == (4, 6)
