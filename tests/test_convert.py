"""Names of CLIP's tower and ours, and the optimizer groups of the recipe."""

import json

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from tiny import DATA

from must_mm.convert import from_clip, name_table
from must_mm.replay import replay_config


@pytest.fixture(params=['must_basic', 'must_many_classes'])
def recording(request):
    return DATA / f'{request.param}.npz'


def first_weights(recording) -> dict:
    data = np.load(recording)
    return {
        key[len('init/') :]: torch.from_numpy(data[key])
        for key in data.files
        if key.startswith('init/')
    }


def test_table_is_one_to_one_and_complete(recording, tmp_path):
    layers = json.loads(str(np.load(recording)['config']))['layers']
    table = name_table(layers, with_must=True)
    assert len(set(table.values())) == len(table)
    assert set(table) == set(first_weights(recording))
    model = MODELS.build(replay_config(recording, str(tmp_path)).model)
    student = {
        name
        for name, _ in model.named_parameters()
        if not name.startswith('teacher.')
    }
    assert set(table.values()) == student


def test_values_are_carried_over(recording):
    clip = first_weights(recording)
    ours = from_clip(clip, with_must=True)
    layers = json.loads(str(np.load(recording)['config']))['layers']
    for name, mine in name_table(layers, with_must=True).items():
        assert torch.equal(ours[mine].flatten(), clip[name].flatten())
    assert ours['backbone.cls_token'].dim() == 3
    assert ours['backbone.pos_embed'].dim() == 3


def test_missing_and_unknown_parameters_are_named(recording):
    clip = first_weights(recording)
    clip['attn_pool.query'] = clip.pop('ln_post.weight')
    with pytest.raises(ValueError) as error:
        from_clip(clip, with_must=True)
    assert "missing: ['ln_post.weight']" in str(error.value)
    assert "unknown: ['attn_pool.query']" in str(error.value)


def test_optimizer_groups_equal_the_published(recording, tmp_path):
    """Scale of the rate and weight decay, parameter by parameter."""
    data = np.load(recording)
    rec = json.loads(str(data['config']))
    cfg = replay_config(recording, str(tmp_path))
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    group_of = {
        id(param): group
        for group in wrapper.optimizer.param_groups
        for param in group['params']
    }
    ours = dict(model.named_parameters())
    table = name_table(rec['layers'], with_must=True)
    assert set(data['param_names'].tolist()) == set(table)
    for name, (scale, decay) in zip(
        data['param_names'], data['lr_scale_and_weight_decay'], strict=True
    ):
        group = group_of.pop(id(ours[table[str(name)]]))
        # powers of 0.65 in double precision
        assert group['lr'] == pytest.approx(
            scale * cfg.optim_wrapper.optimizer.lr, rel=1e-9
        ), name
        assert group['weight_decay'] == pytest.approx(decay), name
    # nothing else is optimised, the teacher least of all
    assert not group_of
