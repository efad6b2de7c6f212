"""State dicts as people wrap them, and what else comes in their place."""

from argparse import Namespace

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from must_mm.weights.clip_source import check_source
from must_mm.weights.clip_weights import load_clip
from must_mm.weights.kinds import (
    Sizes,
    fitting_models,
    read_clip,
    sizes_of_config,
    sizes_of_weights,
)
from tests.weights.test_open_clip_start import write_clip

NAME = 'wrapped_clip'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp('clip'), name=NAME)


@pytest.fixture(scope='module')
def state(files):
    return torch.load(files['pretrained'])


def renamed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


WRAPPED = {
    'model.': lambda s: renamed(s, 'model.'),
    'module.': lambda s: dict(state_dict=renamed(s, 'module.'), epoch=3),
    'compiled': lambda s: renamed(s, '_orig_mod.'),
    'compiled within': lambda s: {
        k.replace('visual.', 'visual._orig_mod.'): v for k, v in s.items()
    },
    'compiled, parallel': lambda s: renamed(s, 'module._orig_mod.'),
    'model': lambda s: dict(model=s, optimizer=dict(state={}), epoch=1),
    'model_state_dict': lambda s: dict(model_state_dict=s, loss=0.5),
    'Lightning': lambda s: dict(
        state_dict={**renamed(s, 'model.'), 'loss.margin': torch.ones(1)},
        hyper_parameters=dict(lr=1e-3),
        callbacks={},
    ),
    'a name of their own': lambda s: dict(
        weights=renamed(s, 'net.backbone_clip.'), args=Namespace(lr=1)
    ),
}


@pytest.mark.parametrize('kind', WRAPPED)
def test_wrappers_are_taken_off(files, state, tmp_path, kind):
    path = tmp_path / 'x.pt'
    torch.save(WRAPPED[kind](state), path)
    found = load_clip(NAME, str(path)).state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert check_source(NAME, str(path)) == []


STRANGERS = {
    'vision tower alone': lambda s: {
        k.removeprefix('visual.'): v
        for k, v in s.items()
        if k.startswith('visual.')
    },
    'vision tower alone ': lambda s: {
        k: v for k, v in s.items() if k.startswith('visual.')
    },
    'text tower alone': lambda s: {
        k: v for k, v in s.items() if not k.startswith('visual.')
    },
    'must-adapt exports': lambda s: dict(
        state_dict={'backbone.cls_token': torch.ones(1)},
        meta=dict(dataset_meta=dict(classes=['a'])),
    ),
    'a run of MMEngine': lambda s: dict(
        state_dict={'backbone.x': torch.ones(1)}, message_hub={}, optimizer={}
    ),
    'LoRA': lambda s: {'base_model.x.lora_A.weight': torch.ones(1)},
    'of timm': lambda s: {'patch_embed.proj.weight': torch.ones(1)},
    'of torchvision': lambda s: {'layer1.0.conv1.weight': torch.ones(1)},
    'begin with unet.x': lambda s: {'unet.x': torch.ones(1)},
    'no weights': lambda s: dict(epoch=3),
    "MUST's published code": lambda s: dict(
        model={
            'model.visual.proj': torch.ones(1),
            'model.visual.classifier': torch.ones(1),
        }
    ),
}


@pytest.mark.parametrize('kind', STRANGERS)
def test_what_is_no_clip_is_named_in_one_line(state, files, tmp_path, kind):
    path = tmp_path / 'x.pt'
    torch.save(STRANGERS[kind](state), path)
    for look in (
        lambda: check_source(NAME, str(path)),
        lambda: load_clip(NAME, str(path)),
    ):
        with pytest.raises(ValueError, match=kind.strip()) as error:
            look()
        said = str(error.value)
        assert said.startswith(f'model.start.pretrained: {path} is ')
        assert '\n' not in said and len(said) < 450 + len(str(path))


def test_another_architecture_is_named_with_those_that_fit(files, tmp_path):
    sizes = sizes_of_config(open_clip.get_model_config('ViT-L-14'))
    assert fitting_models(sizes)[0] == 'ViT-L-14'
    with pytest.raises(
        ValueError,
        match='another architecture than ViT-B-16: 128 channels, 2 blocks',
    ) as error:
        check_source('ViT-B-16', files['pretrained'])
    # other tests of this process may have registered their own of this size
    proposed = str(error.value).split('Give --model ')[1]
    assert NAME in proposed.split(' or ')
    # when it is loaded, too
    with pytest.raises(ValueError, match='another architecture than ViT-S-16'):
        load_clip('ViT-S-16', files['pretrained'])
    assert len(str(error.value)) < 300 + len(files['pretrained'])


def test_what_sizes_do_not_tell_is_told_in_few_words(state, files, tmp_path):
    path = tmp_path / 'x.pt'
    strange = {f'visual.more.{i}': torch.ones(1) for i in range(500)}
    torch.save({**state, **strange}, path)
    with pytest.raises(ValueError, match='another.*and 498 more') as error:
        load_clip(NAME, str(path))
    assert len(str(error.value)) < 300 + len(str(path))


def test_sizes_are_those_of_the_config(state):
    config = sizes_of_config(open_clip.get_model_config(NAME))
    assert sizes_of_weights(state) == config
    assert config == Sizes(128, 2, 8, 32, 32, 24)


def test_other_image_size_is_said(state, tmp_path):
    larger = dict(state)
    embedding = state['visual.positional_embedding']
    larger['visual.positional_embedding'] = torch.cat([embedding] * 4)[:37]
    path = tmp_path / 'x.safetensors'
    save_file(larger, path)
    (note,) = check_source(NAME, str(path))
    assert 'images of 48 pixels' in note and 'takes 32' in note
    assert load_clip(NAME, str(path))  # and loaded, resized


def test_tables_of_data_are_read(state, tmp_path):
    """What a training loop leaves beside the weights."""
    path = tmp_path / 'x.pt'
    torch.save(dict(state_dict=state, args=Namespace(a=1)), path)
    assert read_clip(path).keys() == state.keys()
