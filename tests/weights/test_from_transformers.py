"""transformers' CLIP and SigLIP give transformers' logits.

The recording holds what transformers itself says of the same weights
(``record_transformers.py``); float32 against float32, other kernels.
"""

import json

import numpy as np
import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from must_mm.weights.clip_weights import load_clip
from must_mm.weights.from_transformers import from_transformers, is_siglip
from must_mm.weights.origin import function_of
from tests.tiny import DATA

CLIP = dict(
    embed_dim=12,
    vision_cfg=dict(
        image_size=16, patch_size=8, width=32, layers=2, head_width=16,
        mlp_ratio=2,
    ),
    text_cfg=dict(
        context_length=8, vocab_size=60, width=16, heads=1, layers=2,
    ),
)  # fmt: skip


@pytest.fixture(scope='module')
def recorded():
    with np.load(DATA / 'transformers.npz') as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def weights(recorded, kind):
    prefix = f'{kind}/'
    return {
        name.removeprefix(prefix): value.float()
        for name, value in recorded.items()
        if name.startswith(prefix)
    }


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('act', ['quick_gelu', 'gelu'])
@pytest.mark.parametrize('file', ['pytorch_model.bin', 'model.safetensors'])
@torch.no_grad()
def test_clip_as_people_have_it(recorded, tmp_path, act, file):
    """The folder of a CLIPModel: its config says which activation."""
    state = weights(recorded, 'clip')
    if file.endswith('.bin'):
        # older versions saved their table of positions, too
        state['text_model.embeddings.position_ids'] = torch.arange(8)[None]
        torch.save(state, tmp_path / file)
    else:
        save_file(state, tmp_path / file)
    config = dict(model_type='clip', vision_config=dict(hidden_act=act))
    (tmp_path / 'config.json').write_text(json.dumps(config))
    # four times the width is fixed in open_clip's text tower
    name = f'tiny_transformers_{act}'
    (tmp_path / f'{name}.json').write_text(json.dumps(CLIP))
    open_clip.add_model_config(tmp_path / f'{name}.json')
    clip = load_clip(name, str(tmp_path / file))
    found, _ = clip.get_logits(recorded['pixels'], recorded['ids'])
    close(found, recorded[f'clip_logits_{act}'])
    other = {'gelu': 'quick_gelu', 'quick_gelu': 'gelu'}[act]
    # the activation is not told by chance
    error = (found - recorded[f'clip_logits_{other}']).abs().max()
    assert error > 1e-3


def test_transformers_configs_tell_the_function(tmp_path):
    file = tmp_path / 'model.safetensors'
    save_file(dict(x=torch.ones(1)), file)
    (tmp_path / 'config.json').write_text('{"model_type": "siglip"}')
    found = function_of('ViT-B-16', str(file))
    assert found.preprocessing['mean'] == (0.5, 0.5, 0.5)
    assert found.preprocessing['resize_mode'] == 'squash'
    (tmp_path / 'config.json').write_text('{"model_type": "clip"}')
    (tmp_path / 'preprocessor_config.json').write_text(
        '{"image_mean": [0.1, 0.2, 0.3], "size": {"shortest_edge": 224}}'
    )
    file.touch()
    save_file(dict(x=torch.ones(2)), file)
    found = function_of('ViT-B-16', str(file))
    assert found.quick_gelu  # transformers' default
    assert found.preprocessing['mean'] == (0.1, 0.2, 0.3)
    assert found.preprocessing['resize_mode'] == 'shortest'


@torch.no_grad()
def test_siglip(recorded):
    state = weights(recorded, 'siglip')
    assert is_siglip(state) and not is_siglip(weights(recorded, 'clip'))
    state = from_transformers(state)
    # what open_clip builds of these sizes; its configs name timm's alone
    vision = timm.create_model(
        'vit_base_patch16_siglip_224',
        embed_dim=32,
        depth=2,
        num_heads=2,
        patch_size=8,
        img_size=16,
        mlp_ratio=2,
        num_classes=0,
        act_layer='gelu',
    ).eval()
    text = open_clip.transformer.TextTransformer(
        context_length=8,
        vocab_size=60,
        width=32,
        heads=2,
        layers=2,
        mlp_ratio=2,
        output_dim=32,
        no_causal_mask=True,
        proj_bias=True,
        pool_type='last',
        norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6),
    ).eval()
    for module, prefix in ((vision, 'visual.trunk.'), (text, 'text.')):
        module.load_state_dict(
            {
                name.removeprefix(prefix): value
                for name, value in state.items()
                if name.startswith(prefix)
            }
        )
    images = F.normalize(vision(recorded['pixels']), dim=-1)
    texts = F.normalize(text(recorded['ids']), dim=-1)
    found = state['logit_scale'].exp() * images @ texts.T
    close(found + state['logit_bias'], recorded['siglip_logits'])


def test_every_name_of_siglip_is_open_clips(recorded):
    """Against the model that open_clip builds by its name."""
    found = set(from_transformers(weights(recorded, 'siglip')))
    config = open_clip.get_model_config('ViT-B-16-SigLIP')
    config['text_cfg'].pop('hf_tokenizer_name')
    with torch.device('meta'):
        model = open_clip.CustomTextCLIP(
            **{k: v for k, v in config.items() if k != 'custom_text'}
        )
    wanted = {
        name
        for name in model.state_dict()
        if not any(f'.{index}.' in name for index in range(2, 12))
    }
    assert found == wanted


def test_what_is_neither_is_named():
    with pytest.raises(ValueError, match=r'vision_model\.x is no parameter'):
        from_transformers({'vision_model.x': torch.ones(1)})
