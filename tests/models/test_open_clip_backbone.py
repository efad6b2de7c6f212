"""Towers inside open_clip's own modules: parity, masking, layer decay."""

import copy

import open_clip
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS

from must_mm.models.masking import MaskToken
from must_mm.models.open_clip_backbone import OpenCLIPBackbone
from must_mm.runs.batch_rule import follow_batch
from must_mm.utils.paths import config_path
from tests.long.tower_check import tower_error
from tests.tiny import CLASSES, train, write_images

# open_clip's architectures, fewer blocks: options of timm's modules, or of
# open_clip's own
REDUCED = {
    'ViT-B-16-SigLIP': dict(depth=1),
    'EVA02-B-16': dict(depth=1),
    'convnext_tiny': dict(depths=(1, 1, 1, 1)),
    'MobileCLIP-S1': dict(layers=(1, 1, 1, 1)),
}
OWN = {
    'RN50': dict(layers=[1, 1, 1, 1], width=16, image_size=64),
    'ViT-M-16-alt': dict(layers=1, width=64, ls_init_value=1.0),
    'ViT-L-14-CLIPA': dict(layers=1, width=64),
}


@pytest.fixture
def reduce(monkeypatch):
    """Make timm build fewer blocks, for open_clip and for us alike."""
    create = timm.create_model

    def reduce(model):
        options = REDUCED.get(model, {})
        monkeypatch.setattr(
            timm, 'create_model', lambda *a, **k: create(*a, **k, **options)
        )

    return reduce


@pytest.mark.parametrize('model', [*REDUCED, *OWN])
def test_logits_equal_those_of_open_clip(tmp_path, reduce, model):
    """The modules are the same, so the logits are, whatever the order."""
    reduce(model)
    assert tower_error(tmp_path, model, OWN.get(model)) <= 1e-6


def build(model: str, **options) -> OpenCLIPBackbone:
    config = open_clip.get_model_config(model)
    config['vision_cfg'].update(OWN.get(model, {}))
    backbone = OpenCLIPBackbone(config, **options)
    backbone.eval()
    return backbone


def images(size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, size, size, generator=generator)


@torch.no_grad()
@pytest.mark.parametrize('model', ['MobileCLIP-S1', 'ViT-L-14-CLIPA'])
def test_places_share_the_space_of_the_image(reduce, model):
    """Where pooling is a mean and all after it linear, so are the places."""
    reduce(model)
    backbone = build(model)
    size = open_clip.get_model_config(model)['vision_cfg']['image_size']
    tower = backbone.visual
    if model == 'ViT-L-14-CLIPA':
        tower.ln_post = torch.nn.Identity()  # the one part that is not
    pooled, places = backbone(images(size))
    assert pooled.shape == (2, backbone.out_channels)
    # float32 means in another order
    torch.testing.assert_close(
        places.mean((2, 3)), pooled, rtol=1e-4, atol=1e-5
    )
    assert places.std((2, 3)).mean() > 0


TOKENS = ['ViT-B-16-SigLIP', 'EVA02-B-16', 'ViT-M-16-alt']


@torch.no_grad()
@pytest.mark.parametrize('model', TOKENS)
def test_masked_pixels_do_not_reach_the_output(reduce, model):
    """The token replaces the patch, in this backbone and in a copy of it."""
    reduce(model)
    original = build(model)
    backbone = copy.deepcopy(original)
    width = backbone.patch_embed.projection.out_channels
    token = MaskToken(width)
    token.init_weights()
    patch = backbone.patch_embed.projection.kernel_size[0]
    side = 224 // patch
    mask = torch.zeros(2, side, side, dtype=torch.bool)
    mask[0, 1, 2] = mask[1, 3, 0] = True
    pixels = mask.repeat_interleave(patch, 1).repeat_interleave(patch, 2)
    x = images(224)
    other = torch.where(pixels[:, None], torch.randn_like(x), x)

    with token.hide(backbone, mask):
        expected = backbone(x)
        found = backbone(other)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    # pixels matter without the mask, and the mask matters
    assert not torch.equal(backbone(other)[0], backbone(x)[0])
    assert not torch.equal(backbone(x)[0], expected[0])
    # nor does the hook of a copy act on what it was copied from
    with token.hide(backbone, mask):
        assert not torch.equal(original(x)[0], backbone(x)[0])


def test_overlapping_embeddings_are_not_offered_for_tokens(reduce):
    for model in ('MobileCLIP-S1', 'convnext_tiny', 'RN50'):
        reduce(model)
        assert build(model).patch_embed is None
    reduce('ViT-B-16-SigLIP')
    grid = build('ViT-B-16-SigLIP').patch_embed
    assert not list(grid.parameters()) and not grid.state_dict()


@pytest.mark.parametrize(
    'model, first, last, depths',
    [
        ('ViT-B-16-SigLIP', 'trunk.pos_embed', 'trunk.attn_pool.q.weight', 3),
        ('RN50', 'conv1.weight', 'attnpool.c_proj.weight', 6),
        ('ViT-M-16-alt', 'class_embedding', 'proj', 3),
    ],
)
def test_layer_decay_reaches_every_parameter(
    reduce, model, first, last, depths
):
    """Rates rise from the stem to the pooling, each parameter once."""
    reduce(model)
    config = open_clip.get_model_config(model)
    config['vision_cfg'].update(OWN.get(model, {}))
    classifier = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='OpenCLIPBackbone', model=config),
            neck=dict(type='UnitFeature'),
            head=dict(
                type='PseudoLabelHead',
                num_classes=3,
                in_channels=config['embed_dim'],
            ),
        )
    )
    wrapper = build_optim_wrapper(
        classifier,
        dict(
            constructor='LearningRateDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05),
            paramwise_cfg=dict(layer_decay_rate=0.5),
        ),
    )
    rate = {
        id(param): group['lr']
        for group in wrapper.optimizer.param_groups
        for param in group['params']
    }
    rates = {
        name: rate.pop(id(param))
        for name, param in classifier.named_parameters()
    }
    assert not rate
    assert rates[f'backbone.visual.{first}'] == 0.5 ** (depths - 1)
    assert rates[f'backbone.visual.{last}'] == rates['head.classifier'] == 1
    assert len(set(rates.values())) == depths


def test_unknown_architecture_names_the_key():
    with pytest.raises(ValueError, match=r"model\.backbone\.model.*'ViT-Z'"):
        OpenCLIPBackbone('ViT-Z')


@torch.no_grad()
def test_other_image_size(reduce):
    reduce('ViT-B-16-SigLIP')
    backbone = build('ViT-B-16-SigLIP', img_size=96)
    pooled, places = backbone(images(96))
    assert places.shape == (2, 768, 6, 6)


def test_recipe_trains_an_iteration(reduce, tmp_path):
    """SigLIP's recipe with one block, on generated images."""
    reduce('ViT-B-16-SigLIP')
    data = write_images(tmp_path, size=(230, 240))
    cfg = Config.fromfile(config_path('must/siglip-b16_custom.py'))
    cfg.merge_from_dict(
        {
            'model.start': None,
            'model.head.num_classes': len(CLASSES),
            'train_dataloader': dict(
                num_workers=0, persistent_workers=False, batch_size=4
            ),
            'train_dataloader.dataset': dict(
                data_root=str(data), data_prefix='images', indices=4
            ),
            'train_dataloader.dataset.metainfo.classes': CLASSES,
            'train_cfg.max_epochs': 1,
            'param_scheduler.end': 1,
            'default_hooks.checkpoint': None,
            'visualizer.vis_backends': [],
            'log_level': 'WARNING',
            'work_dir': str(tmp_path / 'run'),
        }
    )
    follow_batch(cfg, processes=1)
    runner = train(cfg)
    assert runner.iter == 1
    assert not runner.model.with_masking
    for term in ('loss_st', 'loss_fair'):
        value = runner.message_hub.get_scalar(f'train/{term}').current()
        assert 0 <= value < 100, term
