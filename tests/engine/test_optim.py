"""Optimizer groups and schedule of MAE-CT, by their formulas."""

import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS
from torch import nn

from must_mm.engine.optim import WarmupCosineLR
from must_mm.utils.schedules import warmup_cosine


def schedule(total, groups=(1.0,), **options):
    params = [
        dict(params=[nn.Parameter(torch.zeros(1))], lr=g) for g in groups
    ]
    optimizer = OptimWrapper(torch.optim.SGD(params, lr=1.0))
    return optimizer, WarmupCosineLR(
        optimizer, end=total, by_epoch=False, **options
    )


def test_every_step_by_the_formula():
    """lr (s + 1) / (W + 1), then a cosine; each group keeps its scale."""
    base = (0.8, 0.05)
    optimizer, scheduler = schedule(50, base)
    for step in range(50):
        factor = (
            (step + 1) / 11
            if step < 10
            else 0.5 * (1 + math.cos(math.pi * (step - 10) / 40))
        )
        groups = optimizer.optimizer.param_groups
        for group, lr in zip(groups, base, strict=True):
            assert group['lr'] == pytest.approx(lr * factor, rel=1e-12)
        optimizer.step()
        scheduler.step()
    # almost zero: the last step that was taken is not the end of the cosine
    assert 0 < factor < 0.002
    assert optimizer.param_groups[0]['lr'] == pytest.approx(0.8 * factor)


def test_factor_rises_to_one_and_falls():
    factors = [warmup_cosine(step, 10, 50) for step in range(50)]
    assert max(factors) == factors[10] == 1
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[:10] == [(step + 1) / 11 for step in range(10)]
    assert factors[30] == pytest.approx(0.5)
    # one update before the end: (1 - cos(pi / 40)) / 2
    assert 0 < factors[49] < 2e-3
    assert warmup_cosine(0, 0, 5) == 1


def test_epochs_become_iterations():
    optimizer = OptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), 1))
    scheduler = PARAM_SCHEDULERS.get('WarmupCosineLR').build_iter_from_epoch(
        optimizer, end=5, warmup_ratio=0.2, epoch_length=7
    )
    assert not scheduler.by_epoch
    assert (scheduler.total, scheduler.warmup) == (35, 7)


@pytest.mark.parametrize(
    'options, key',
    [(dict(warmup_ratio=1.0), 'warmup_ratio'), (dict(total=None), 'end')],
)
def test_bad_settings_name_the_key(options, key):
    optimizer = OptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), 1))
    if 'total' not in options:
        options['end'] = 5
    options.pop('total', None)
    with pytest.raises(ValueError, match=f'param_scheduler.{key}'):
        WarmupCosineLR(optimizer, **options)


class Toy(nn.Module):
    """Two parts, and depths as a backbone gives them."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.head = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))

    def get_layer_depth(self, name):
        return (0 if name.startswith('backbone.0') else 1), 2


def head_groups(**paramwise):
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(
        'HeadAndLayerDecayConstructor'
    )(
        dict(optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05)),
        dict(
            layer_decay_rate=0.5,
            norm_decay_mult=0.0,
            bias_decay_mult=0.0,
            **paramwise,
        ),
    )
    return constructor(Toy()).optimizer.param_groups


def groups(**paramwise):
    return {
        name: (group['lr'], group['weight_decay'])
        for group in head_groups(**paramwise)
        for name in group['param_names']
    }


def layer_decay_groups(model, constructor):
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(constructor)(
        dict(optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05)),
        dict(
            layer_decay_rate=0.5,
            norm_decay_mult=0.0,
            bias_decay_mult=0.0,
            custom_keys={'head.1.weight': dict(betas=(0.5, 0.9))},
        ),
    )
    return constructor(model).optimizer.param_groups


def test_parameters_of_equal_settings_share_a_group():
    """Each has the settings that MMPretrain gives it."""
    model = Toy()
    model.head[0].bias.requires_grad_(False)
    joined = layer_decay_groups(model, 'LayerDecayConstructor')
    assert [group['param_names'] for group in joined] == [
        ['backbone.0.weight'],
        ['backbone.0.bias'],
        ['backbone.1.weight', 'backbone.1.bias', 'head.1.bias'],
        ['head.0.weight'],
        ['head.1.weight'],  # its betas are its own
    ]
    settings = {}
    for group in joined:
        for name, param in zip(
            group['param_names'], group['params'], strict=True
        ):
            assert param is model.get_parameter(name)
            settings[name] = group
    single = layer_decay_groups(
        model, 'LearningRateDecayOptimWrapperConstructor'
    )
    assert len(single) == len(settings) == 7
    for group in single:
        found = settings[group['param_name']]
        for key in group.keys() - {'params', 'param_name', 'layer_id'}:
            assert found[key] == group[key], (group['param_name'], key)


def test_head_has_its_own_rate_and_decay():
    assert groups(head_lr=0.7, head_weight_decay=1e-5) == {
        'backbone.0.weight': (0.05, 0.05),
        'backbone.0.bias': (0.05, 0.0),
        'backbone.1.weight': (0.1, 0.0),
        'backbone.1.bias': (0.1, 0.0),
        'head.0.weight': (0.7, 1e-5),
        'head.0.bias': (0.7, 0.0),
        'head.1.weight': (0.7, 0.0),
        'head.1.bias': (0.7, 0.0),
    }


def test_few_groups_with_a_head_of_its_own():
    found = head_groups(head_lr=0.7, head_weight_decay=1e-5)
    assert [group['param_names'] for group in found] == [
        ['backbone.0.weight'],
        ['backbone.0.bias'],
        ['backbone.1.weight', 'backbone.1.bias'],
        ['head.0.weight'],
        ['head.0.bias', 'head.1.weight', 'head.1.bias'],
    ]


def test_without_the_keys_the_optimizers_values_hold():
    assert groups()['head.0.weight'] == (0.1, 0.05)
    assert groups(head_lr=0.7)['head.0.weight'] == (0.7, 0.05)
