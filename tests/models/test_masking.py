"""The mask generator and the mask token."""

import math

import numpy as np
import pytest
import torch
from mmpretrain.datasets import SimMIMMaskGenerator
from mmpretrain.registry import MODELS

from must_mm.models.masking import MaskColour, MaskToken, mask_for
from must_mm.transforms.mask_generator import MUSTMaskGenerator
from tests.tiny import SIZE


@pytest.mark.parametrize(
    'sizes', [(224, 32, 16, 0.3), (224, 56, 14, 0.5), (32, 8, 8, 0.1)]
)
def test_same_draws_as_simmim(sizes):
    for seed in range(5):
        np.random.seed(seed)
        expected = SimMIMMaskGenerator(*sizes)({})['mask']
        np.random.seed(seed)
        found = MUSTMaskGenerator(*sizes)({})['mask']
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('ratio', [0.1, 0.3, 0.5, 0.99])
def test_count_is_rounded_up_in_whole_blocks(ratio):
    mask = MUSTMaskGenerator(224, 32, 16, ratio)({})['mask']
    assert mask.shape == (14, 14)
    blocks = mask.reshape(7, 2, 7, 2).sum(axis=(1, 3))
    assert set(np.unique(blocks)) <= {0, 4}
    assert (blocks == 4).sum() == math.ceil(ratio * 49)


@pytest.mark.parametrize(
    'sizes, message',
    [
        ((224, 30, 15, 0.3), r'input_size \(224\).*mask_patch_size \(30\)'),
        ((224, 32, 14, 0.3), r'mask_patch_size \(32\).*model_patch_size'),
        ((224, 32, 16, 0.0), r'mask_ratio must lie in \(0, 1\), got 0'),
        ((224, 32, 16, 1.0), r'mask_ratio must lie in \(0, 1\), got 1'),
        ((224, 32, 16, -0.5), r'mask_ratio'),
        ((224, 0, 16, 0.3), r'mask_patch_size must be a positive integer'),
        ((224.0, 32, 16, 0.3), r'input_size must be a positive integer'),
        ((224, 32, -16, 0.3), r'model_patch_size must be a positive'),
    ],
)
def test_errors_name_the_key(sizes, message):
    with pytest.raises(ValueError, match='MUSTMaskGenerator.' + message):
        MUSTMaskGenerator(*sizes)


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    return model


def test_token_starts_from_the_published_normal():
    torch.manual_seed(0)
    token = MaskToken(4096)
    token.init_weights()
    # the standard deviation of 4096 draws is off by 1.1 % (one sigma)
    assert token.token.std().item() == pytest.approx(0.02, rel=0.05)


def test_token_replaces_embeddings_before_positions(model):
    """The first block's input is token + position, or patch + position."""
    images = torch.randn(2, 3, SIZE, SIZE)
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[0, 1, 2] = mask[1, 0, 0] = True
    backbone, seen = model.backbone, {}
    backbone.pre_norm.register_forward_hook(
        lambda _module, inputs, _output: seen.update(tokens=inputs[0])
    )
    patches, _ = backbone.patch_embed(images)
    patches = patches.clone()
    patches[0, 6] = patches[1, 0] = model.masking.token[0, 0]
    with model.masking.hide(backbone, mask):
        backbone(images)
    # the same additions in the same order: exact
    assert torch.equal(
        seen['tokens'][:, 1:], patches + backbone.pos_embed[:, 1:]
    )


def test_masking_ends_with_its_context(model):
    images = torch.randn(2, 3, SIZE, SIZE)
    mask = torch.ones(2, 4, 4, dtype=torch.bool)
    before = model.backbone(images)[-1]
    with pytest.raises(RuntimeError, match='boom'):
        with model.masking.hide(model.backbone, mask):
            assert not torch.equal(model.backbone(images)[-1], before)
            raise RuntimeError('boom')
    assert torch.equal(model.backbone(images)[-1], before)


def test_mask_of_another_grid_names_the_keys(model):
    mask = torch.zeros(2, 3, 3, dtype=torch.bool)
    with model.masking.hide(model.backbone, mask):
        with pytest.raises(
            ValueError, match=r'MUSTMaskGenerator\.input_size and model_patch'
        ):
            model.backbone(torch.randn(2, 3, SIZE, SIZE))


def test_coarse_mask_covers_its_tokens(model):
    images = torch.randn(2, 3, SIZE, SIZE)
    coarse = torch.zeros(2, 2, 2, dtype=torch.bool)
    coarse[0, 1, 0] = coarse[1, 0, 1] = True
    fine = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)
    found = []
    for mask in (coarse, fine):
        with model.masking.hide(model.backbone, mask):
            found.append(model.backbone(images)[-1])
    assert torch.equal(*found)


def test_colour_replaces_the_pixels_of_masked_blocks():
    colour = MaskColour()
    colour.init_weights()
    images = torch.randn(2, 3, SIZE, SIZE)
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[0, 1, 2] = mask[1, 0, 0] = True
    expected = images.clone()
    expected[0, :, 8:16, 16:24] = colour.colour[0]
    expected[1, :, :8, :8] = colour.colour[0]
    backbone = torch.nn.Identity()
    with colour.hide(backbone, mask):
        assert torch.equal(backbone(images), expected)
    assert torch.equal(backbone(images), images)


@pytest.mark.parametrize('shape', [(2, 3, 3), (1, 4, 4)])
def test_colour_of_another_grid_names_the_key(shape):
    mask, backbone = torch.zeros(shape).bool(), torch.nn.Identity()
    with MaskColour().hide(backbone, mask):
        with pytest.raises(ValueError, match=r'MUSTMaskGenerator\.input_size'):
            backbone(torch.randn(2, 3, SIZE, SIZE))


def test_overlapping_patches_are_masked_as_pixels(model):
    """A token would leave masked pixels in its neighbours' embeddings."""
    assert isinstance(mask_for(model.backbone), MaskToken)
    model.backbone.patch_embed.projection.kernel_size = (16, 16)
    assert isinstance(mask_for(model.backbone), MaskColour)
