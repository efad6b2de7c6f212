"""Names of CLIP's tower and ours, and the optimizer groups of the recipe."""

import json

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS

from must_mm.weights.convert import (
    from_clip,
    from_published,
    name_table,
    to_clip,
    to_published,
)
from tests.long.replay import replay_config
from tests.tiny import DATA, assert_same_tensors


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


MASKING = ('mask_token_embedding', 'ln_patch.', 'decoder.')


def test_there_and_back(recording):
    clip = first_weights(recording)
    assert_same_tensors(to_clip(from_clip(clip, True), True), clip)
    tower = {
        name: value
        for name, value in clip.items()
        if not name.startswith(('classifier', *MASKING))
    }
    assert_same_tensors(to_clip(from_clip(tower)), tower)


def published(clip: dict, ema: bool = True) -> dict:
    """What the published code saves, seen from its names."""
    model = {f'model.visual.{name}': value for name, value in clip.items()}
    checkpoint = dict(model=model)
    if ema:
        checkpoint['model_ema'] = {
            # nothing reads the teacher's parts for masking
            name: value
            if name.removeprefix('model.visual.').startswith(MASKING)
            else value * 0.5
            for name, value in model.items()
        }
    return checkpoint


@pytest.mark.parametrize('ema', [True, False])
@pytest.mark.parametrize('masking', [True, False])
def test_published_checkpoint_there_and_back(recording, ema, masking):
    clip = first_weights(recording)
    if not masking:
        clip = {k: v for k, v in clip.items() if not k.startswith(MASKING)}
    checkpoint = published(clip, ema)
    state = from_published(checkpoint)
    assert_same_tensors(to_published(state), checkpoint)
    # as an earlier version of ours named it
    earlier = {
        name.replace('masking.', 'mask_token.'): value
        for name, value in state.items()
    }
    assert masking == ('mask_token.token' in earlier)
    assert_same_tensors(to_published(earlier), checkpoint)


def test_published_checkpoint_fills_the_model_exactly(recording, tmp_path):
    """Student, teacher and the parts for masking; nothing else is left."""
    clip = first_weights(recording)
    model = MODELS.build(replay_config(recording, str(tmp_path)).model)
    state = from_published(published(clip))
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all('fairness_loss' in name for name in missing)
    teacher = model.teacher.state_dict()
    for name, value in teacher.items():
        half = name != 'head.logit_scale'
        student = model.state_dict()[name]
        assert torch.equal(value, student * 0.5 if half else student), name


@pytest.mark.parametrize('name', ['positional_embedding', 'decoder.0.bias'])
def test_wrong_shapes_are_named(recording, name):
    clip = first_weights(recording)
    clip[name] = clip[name][..., :-1]
    with pytest.raises(ValueError, match=rf'{name} is \('):
        from_clip(clip, with_must=True)
    ours = from_clip(first_weights(recording), with_must=True)
    mine = name_table(2, with_must=True)[name]
    ours[mine] = ours[mine][..., :-1]
    with pytest.raises(ValueError, match=rf'{name} is \('):
        to_clip(ours, with_must=True)


def test_files_of_others_are_refused(recording):
    clip = first_weights(recording)
    with pytest.raises(ValueError, match="holds 'model'.*visual"):
        from_published({f'visual.{k}': v for k, v in clip.items()})
    with pytest.raises(ValueError, match=r"others.*'visual\.proj'"):
        from_published(
            dict(model={f'module.visual.{k}': v for k, v in clip.items()})
        )
    state = from_published(published(clip))
    state['head.logit_scale'] = torch.tensor(20.0)
    with pytest.raises(ValueError, match=r'head\.logit_scale is 20'):
        to_published(state)


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
