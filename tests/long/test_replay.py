"""Equality with the recorded steps of the published system."""

import json

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from tests.long.recordings import config_change, perturbed
from tests.long.replay import (
    TERMS,
    RecordedViews,
    main,
    replay,
    replay_config,
)
from tests.tiny import DATA

RECORDINGS = ['must_basic', 'must_many_classes', 'must_two_ranks']
ON_EACH_RANK = {
    *TERMS,
    'loss',
    'conf_ratio',
    'decay',
    'lr',
    'step 0: teacher probabilities',
    'step 0: student logits',
}
ON_RANK_0 = {
    'step 0: reconstruction',
    'step 0: alignment',
    'step 0: gradients (worst)',
    'final student weights (worst)',
    'final teacher weights (worst)',
    'final student logits',
    'final teacher logits',
}


@pytest.mark.onedl
@pytest.mark.parametrize(
    'name',
    [*RECORDINGS[:2], pytest.param(RECORDINGS[2], marks=pytest.mark.dist)],
)
def test_tool_passes(name, capsys):
    """The tool's own tolerance, 1e-4: float32 over several steps of AdamW."""
    assert main([str(DATA / f'{name}.npz')]) == 0
    printed = capsys.readouterr().out
    ranks = 2 if name == 'must_two_ranks' else 1
    rows = [line for line in printed.splitlines() if line.endswith('ok')]
    expected = ranks * len(ON_EACH_RANK) + len(ON_RANK_0)
    assert len(rows) == expected, printed
    assert 'FAILED' not in printed


def test_tool_fails_below_the_rounding_noise(capsys):
    path = DATA / 'must_basic.npz'
    assert main([str(path), '--rtol', '1e-12']) == 1
    assert 'FAILED' in capsys.readouterr().out


def test_rows():
    (rows,) = replay(DATA / 'must_basic.npz')
    assert len(rows) == len({row.name for row in rows})
    assert {row.name for row in rows} == ON_EACH_RANK | ON_RANK_0
    assert all(0 <= row.error <= 1e-4 for row in rows), rows


def value_change(key, index, factor=1.001):
    def change(content):
        content[key][index] *= factor

    return change


@pytest.mark.parametrize(
    'change, rows',
    [
        (config_change(conf_threshold=0.9), {'loss_st', 'conf_ratio'}),
        (config_change(w_fair=0.5), {'loss'}),
        (config_change(w_align=0.3), {'loss'}),
        (config_change(lr=0.0065), {'lr', 'final student logits'}),
        (config_change(ema_start=0.98), {'decay', 'final teacher logits'}),
        (config_change(warm_it=5), {'decay', 'final teacher logits'}),
        (value_change('mask', (1, 2)), None),
        (value_change('weak', (0, 0), 2), {'step 0: teacher probabilities'}),
        (value_change('strong', (0, 0), 2), {'step 0: student logits'}),
        (value_change('init/mask_token_embedding', ..., 2), {'loss_mim'}),
        (value_change('init/decoder.0.bias', ..., 1.1), {'loss_mim'}),
    ],
)
def test_another_setting_or_input_fails(tmp_path, change, rows):
    """The test of the test: what is off is seen, in the right row."""
    if rows is None:  # flip the mask of an image

        def change(content):
            content['mask'][1, 2] = 1 - content['mask'][1, 2]

        rows = {'loss_mim'}
    (found,) = replay(perturbed(tmp_path, change, RECORDINGS[0]))
    failed = {row.name for row in found if not row.error <= 1e-4}
    assert rows <= failed


@pytest.mark.parametrize(
    'key, index, row',
    [
        *[('log', (0, i), TERMS[i]) for i in range(4)],
        ('log', (5, 4), 'loss'),
        ('log', (0, 5), 'conf_ratio'),
        ('log', (3, 6), 'decay'),
        ('log', (0, 7), 'lr'),
        ('logits0', np.s_[:], 'step 0: student logits'),
        ('teacher_probs0', np.s_[:], 'step 0: teacher probabilities'),
        ('reconstruction0', np.s_[:], 'step 0: reconstruction'),
        ('align0', np.s_[:], 'step 0: alignment'),
        ('grad0/class_embedding', 0, 'step 0: gradients (worst)'),
        ('grad0/decoder.0.weight', 0, 'step 0: gradients (worst)'),
        ('final/conv1.weight', 0, 'final student weights (worst)'),
        ('final_ema/classifier', 0, 'final teacher weights (worst)'),
        ('final_logits', np.s_[:], 'final student logits'),
        ('final_ema_logits', np.s_[:], 'final teacher logits'),
    ],
)
def test_another_reference_value_fails_in_its_row(
    basic_run, tmp_path, key, index, row
):
    """A change of one per mille against a tolerance of 0.1 per mille."""
    factor = 1.02 if key == 'log' else 1.001  # as the largest of a column
    change = value_change(key, index, factor)
    path = perturbed(tmp_path, change, RECORDINGS[0])
    rows = basic_run(path)
    assert {r.name for r in rows if not r.error <= 1e-4} == {row}


@pytest.fixture(scope='module')
def basic_run(tmp_path_factory):
    """Train once; compare the same run with any reference."""
    from tests.long import replay as module

    work_dir = tmp_path_factory.mktemp('replay')
    cfg = replay_config(DATA / 'must_basic.npz', str(work_dir))
    cfg.log_level = 'WARNING'
    runner = Runner.from_cfg(cfg)
    recorder = module.Recorder()
    runner.register_hook(recorder)
    runner.train()

    def compare(path):
        return module._compare(runner, recorder, np.load(path))

    assert all(row.error <= 1e-4 for row in compare(DATA / 'must_basic.npz'))
    return compare


def test_undefined_error_is_a_failure(tmp_path):
    """NaN is within no tolerance."""
    change = value_change('log', (0, 0), float('nan'))
    path = perturbed(tmp_path, change, RECORDINGS[0])
    assert main([str(path)]) == 1


def test_missing_and_foreign_files_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match='no recording'):
        replay(tmp_path / 'none.npz')
    np.savez(tmp_path / 'other.npz', x=np.zeros(3))
    with pytest.raises(ValueError, match='no recording of MUST'):
        replay(tmp_path / 'other.npz')


# --------------------------------------------------------------- other sizes


def synthetic(path, **sizes):
    """A file of the format with random content."""
    rec = dict(
        image=48,
        patch=12,
        width=192,
        layers=3,
        embed=20,
        classes=7,
        batch=3,
        steps=2,
        epochs=2,
        mask_patch=24,
        mask_ratio=0.4,
        conf_threshold=0.2,
        w_fair=0.2,
        w_align=0.5,
        lr=1e-3,
        ema_start=0.9,
        ema_end=0.99,
        warm_it=3,
        seed=0,
    )
    rec.update(sizes)
    rng = np.random.default_rng(0)
    width, patch = rec['width'], rec['patch']
    grid = rec['image'] // patch
    shapes = {
        'class_embedding': (width,),
        'positional_embedding': (grid**2 + 1, width),
        'conv1.weight': (width, 3, patch, patch),
        'proj': (width, rec['embed']),
        'classifier': (rec['embed'], rec['classes']),
        'mask_token_embedding': (1, 1, width),
        'decoder.0.weight': (3 * patch**2, width, 1, 1),
        'decoder.0.bias': (3 * patch**2,),
    }
    for norm in ('ln_pre', 'ln_post', 'ln_patch'):
        shapes[f'{norm}.weight'] = shapes[f'{norm}.bias'] = (width,)
    for layer in range(rec['layers']):
        block = f'transformer.resblocks.{layer}.'
        for part, rows, columns in (
            ('attn.in_proj_', 3, 1),
            ('attn.out_proj.', 1, 1),
            ('mlp.c_fc.', 4, 1),
            ('mlp.c_proj.', 1, 4),
        ):
            shapes[f'{block}{part}weight'] = (rows * width, columns * width)
            shapes[f'{block}{part}bias'] = (rows * width,)
        for norm in ('ln_1', 'ln_2'):
            shapes[f'{block}{norm}.weight'] = (width,)
            shapes[f'{block}{norm}.bias'] = (width,)
    content = {
        f'init/{name}': rng.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    total = rec['steps'] * rec['epochs']
    views = (total, rec['batch'], 3, rec['image'], rec['image'])
    for view in ('weak', 'strong'):
        content[view] = rng.normal(size=views).astype(np.float32)
    mask = np.zeros((total, rec['batch'], grid, grid), np.int64)
    mask[..., ::2] = 1
    np.savez(path, config=np.array(json.dumps(rec)), mask=mask, **content)
    return path


@pytest.mark.parametrize(
    'sizes, heads',
    [
        ({}, 3),
        (dict(width=64, layers=1, image=16, patch=4, mask_patch=8), 1),
        (dict(classes=520, embed=33, batch=2), 3),
    ],
)
def test_other_sizes_run(tmp_path, sizes, heads):
    path = synthetic(tmp_path / 'other.npz', **sizes)
    cfg = replay_config(path, str(tmp_path / 'run'))
    cfg.log_level = 'WARNING'
    runner = Runner.from_cfg(cfg)
    first = runner.model.head.classifier.clone()
    runner.train()
    model = runner.model
    assert runner.iter == 4
    assert {layer.attn.num_heads for layer in model.backbone.layers} == {heads}
    assert not torch.equal(model.head.classifier, first)
    many = model.head.num_classes >= 512
    assert model.head.fairness_loss.moving_average == many


def test_recorded_views_keep_the_ranks_rows():
    """Dealt like cards by the sampler, rank r still gets its own rows."""
    from must_mm.datasets.seeding import EpochSampler

    data = RecordedViews(DATA / 'must_two_ranks.npz')
    reference = np.load(DATA / 'must_two_ranks.npz')['weak']
    sampler = EpochSampler(data, shuffle=False)
    sampler.world_size, sampler.num_samples = 2, len(data) // 2
    for rank in (0, 1):
        sampler.rank = rank
        rows = [data[index]['inputs'][0].numpy() for index in sampler]
        expected = reference[:, rank * 4 : rank * 4 + 4]
        np.testing.assert_array_equal(
            np.stack(rows), expected.reshape(-1, *expected.shape[2:])
        )
