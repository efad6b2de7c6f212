"""Plain CLIP towers: the configs, and logits equal to open_clip's."""

import copy
from argparse import ArgumentTypeError

import open_clip
import pytest
from mmengine.config import Config
from mmpretrain.models import VisionTransformer

from must_mm.utils.paths import config_path
from must_mm.weights.towers import is_plain_vit, tower_config
from tests.long.tower_check import parse_tower, tower_error

BASES = {
    'must_vit-b32': 'ViT-B-32-quickgelu',
    'must_vit-b16': 'ViT-B-16-quickgelu',
    'must_vit-l14': 'ViT-L-14-quickgelu',
    'must_vit-l14-336': 'ViT-L-14-336-quickgelu',
    'must_vit-h14': 'ViT-H-14',
    'must_vit-g14': 'ViT-g-14',
}
# Two float32 towers with other kernels; the required tolerance is 1e-4 of
# the largest logit.
RTOL = 1e-5


@pytest.mark.parametrize('base, model', BASES.items(), ids=BASES)
def test_base_configs_are_open_clips_towers(base, model):
    found = Config.fromfile(config_path(f'_base_/{base}.py')).model
    expected = tower_config(open_clip.get_model_config(model))
    backbone = copy.deepcopy(found.backbone.to_dict())
    if isinstance(backbone['arch'], str):
        backbone['arch'] = VisionTransformer.arch_zoo[backbone['arch']]
    lean = dict(expected['backbone'], type='LeanVisionTransformer')
    assert backbone == lean
    assert found.neck.to_dict() == expected['neck']
    assert found.head.in_channels == expected['neck']['out_channels']
    width = expected['neck']['in_channels']
    assert found.decoder.in_channels == width
    patch = expected['backbone']['patch_size']
    assert found.decoder.encoder_stride == found.mim_head.patch_size == patch


def test_plain_towers_are_told_from_others():
    def plain(name):
        return is_plain_vit(open_clip.get_model_config(name)['vision_cfg'])

    assert all(plain(model) for model in BASES.values())
    others = (
        'RN50',
        'ViT-B-16-SigLIP',
        'EVA02-B-16',
        'convnext_base',
        'MobileCLIP-S1',
        'coca_ViT-B-32',  # attention pooling
        'ViT-H-14-CLIPA',  # no pre-norm
        'ViT-M-16-alt',  # layer scale
    )
    assert not any(plain(name) for name in others)


def test_towers_on_the_command_line():
    assert parse_tower('ViT-B-32') == ('ViT-B-32', 'ViT-B-32', None, None)
    text = 'ViT-g-14:4@160'
    assert parse_tower(text) == (text, 'ViT-g-14', 4, 160)
    for wrong in ('ViT-B-32:x', 'ViT-B-32:0', 'ViT-B-32@'):
        with pytest.raises(ArgumentTypeError, match='no positive integer'):
            parse_tower(wrong)


def test_full_depth_b32_equals_open_clip(tmp_path):
    """From the weights file to the logits, text classifier included."""
    assert tower_error(tmp_path, 'ViT-B-32') <= RTOL


@pytest.mark.parametrize(
    'model', ['ViT-B-16-quickgelu', 'ViT-L-14-336', 'ViT-H-14', 'ViT-g-14']
)
def test_larger_towers_equal_open_clip(tmp_path, model):
    """At their own widths and image sizes, one block deep."""
    assert tower_error(tmp_path, model, dict(layers=1), batch=1) <= RTOL


@pytest.mark.parametrize('image_size', [160, 288])
def test_other_image_sizes_equal_open_clip(tmp_path, image_size):
    """Position embeddings are resized down and up as open_clip does."""
    error = tower_error(
        tmp_path, 'ViT-S-32', dict(layers=1), image_size=image_size
    )
    assert error <= RTOL
