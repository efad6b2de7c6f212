"""Any backbone: keeps the start's function, hides what it masks, trains."""

import copy
import re

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import must_mm  # noqa: F401
from must_mm.checkpoints.plain import save_tensors
from must_mm.models.ema import ema_update
from must_mm.weights.publish import load_published, publish
from tests.tiny import CLASSES, ROOT

SIZE, CELL, SOURCE = 64, 32, 7
CLASS_MAP = {'ant': [0], 'bee': [2, 3, 6], 'cat': [5], 'dog': [1, 4]}
VIT = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
TOKENS = dict(arch=VIT, img_size=SIZE, patch_size=16)
SWIN = dict(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])
POOL = dict(type='GlobalAveragePooling')


def linear(channels):
    return dict(type='LinearClsHead', num_classes=SOURCE, in_channels=channels)


VIT_HEAD = dict(
    type='VisionTransformerClsHead', num_classes=SOURCE, in_channels=32
)
# name: the source's backbone, neck and head; width and stride of its last
# feature map; what masks; where the map is taken from if the backbone pools
CASES = {
    'vit': (
        dict(type='VisionTransformer', **TOKENS),
        None,
        VIT_HEAD,
        (32, 16, 'MaskToken', 'layers.1'),
    ),
    'deit': (
        dict(type='DistilledVisionTransformer', **TOKENS),
        None,
        dict(VIT_HEAD, type='DeiTClsHead'),
        (32, 16, 'MaskToken', 'layers.1'),
    ),
    'beit': (
        dict(
            type='BEiTViT',
            **TOKENS,
            out_type='avg_featmap',
            use_rel_pos_bias=True,
            use_abs_pos_emb=False,
        ),
        None,
        linear(32),
        (32, 16, 'MaskToken', 'layers.1'),
    ),
    'eva02': (
        dict(type='ViTEVA02', **TOKENS, out_type='avg_featmap'),
        None,
        linear(32),
        (32, 16, 'MaskToken', 'layers.1'),
    ),
    'swin': (
        dict(
            type='SwinTransformer',
            arch=SWIN,
            img_size=SIZE,
            window_size=2,
            drop_path_rate=0.0,
        ),
        POOL,
        linear(128),
        (128, 32, 'MaskToken', None),
    ),
    'swin_v2': (
        dict(
            type='SwinTransformerV2',
            arch=dict(SWIN, extra_norm_every_n_blocks=0),
            img_size=SIZE,
            window_size=[4, 4, 4, 2],
            drop_path_rate=0.0,
        ),
        POOL,
        linear(128),
        (128, 32, 'MaskToken', None),
    ),
    'resnet': (
        dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
        POOL,
        linear(64),
        (64, 32, 'MaskColour', None),
    ),
    'mobilenet_v2': (
        dict(type='MobileNetV2', widen_factor=0.1),
        POOL,
        linear(1280),
        (1280, 32, 'MaskColour', None),
    ),
    'convnext': (
        dict(
            type='ConvNeXt',
            arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 32]),
            drop_path_rate=0.0,
        ),
        None,
        linear(32),
        (32, 32, 'MaskColour', 'stages.3'),
    ),
    'timm_cnn': (
        dict(type='TIMMBackbone', model_name='test_efficientnet'),
        POOL,
        linear(256),
        (256, 32, 'MaskColour', None),
    ),
}


def built(config):
    model = MODELS.build(config)
    model.init_weights()
    with torch.no_grad():  # heads of some start at zero
        for param in model.parameters():
            param += 0.02 * torch.randn_like(param)
    return model


def source_config(name):
    backbone, neck, head, _ = CASES[name]
    return dict(
        type='ImageClassifier', backbone=backbone, neck=neck, head=head
    )


def must_config(name, **start):
    backbone, neck, head, (width, stride, _, module) = CASES[name]
    kind = (
        'Distilled' if head['type'] == 'DeiTClsHead' else 'Linear'
    ) + 'PseudoLabelHead'
    return dict(
        type='MUST',
        backbone=backbone,
        neck=neck,
        head=dict(
            type=kind,
            num_classes=len(CLASSES),
            in_channels=head['in_channels'],
            threshold=0.1,
        ),
        decoder=dict(
            type='SimMIMLinearDecoder',
            in_channels=width,
            encoder_stride=stride,
        ),
        mim_head=dict(
            type='SimMIMHead',
            patch_size=CELL,
            loss=dict(
                type='PixelReconstructionLoss', criterion='L1', channel=3
            ),
        ),
        align_loss=dict(type='GlobalLocalAlignmentLoss'),
        local_features=module,
        start=dict(
            type='ClassifierStart',
            classes=CLASSES,
            class_map=CLASS_MAP,
            **start,
        ),
    )


@pytest.fixture(scope='module', params=list(CASES))
def case(request, tmp_path_factory):
    """Name, source classifier, and the MUST model that starts from it."""
    torch.manual_seed(0)
    name = request.param
    source = built(source_config(name))
    path = tmp_path_factory.mktemp(name) / 'source.pth'
    save_tensors(dict(state_dict=source.state_dict()), path)
    model = MODELS.build(must_config(name, checkpoint=path))
    model.init_weights()
    return name, source.eval(), model


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    weak, strong = torch.randn(2, 4, 3, SIZE, SIZE, generator=generator)
    mask = torch.tensor(
        [
            [[1, 0], [0, 0]],
            [[0, 1], [0, 0]],
            [[0, 0], [1, 1]],
            [[0, 0], [0, 1]],
        ]
    )
    return [weak, strong], [DataSample().set_mask(m) for m in mask]


def test_starts_as_the_source_with_merged_rows(case, batch):
    """Averaged rows of a linear layer give averaged logits.

    Tolerance: float32, another order of the same sums.
    """
    _, source, model = case
    (weak, _), _ = batch
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        logits = source(weak)
        if isinstance(logits, tuple):  # some heads of DeiT return both
            logits = sum(logits) / len(logits)
        expected = torch.stack(
            [logits[:, rows].mean(dim=1) for rows in CLASS_MAP.values()], 1
        )
        for network in (model, model.teacher):
            torch.testing.assert_close(
                network(weak), expected, rtol=1e-5, atol=1e-5
            )
    assert expected.std() > 1e-3  # not all the same


def test_masked_pixels_do_not_leak(case, batch):
    """They change no feature, logit or loss but the target's."""
    name, _, model = case
    (weak, strong), samples = batch
    model = copy.deepcopy(model).train()
    assert type(model.masking).__name__ == CASES[name][3][2]
    mask = model.stack_masks(samples)
    pixels = mask.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)
    changed = torch.where(pixels.unsqueeze(1), 9.0, strong)
    seen = []
    for part in (model.head, model.decoder):
        part.register_forward_hook(
            lambda _module, _inputs, output: seen.append(output)
        )
    first = model.loss([weak, strong], samples)
    second = model.loss([weak, changed], samples)
    logits, reconstruction, *again = seen
    assert torch.equal(again[0], logits)
    assert torch.equal(again[1], reconstruction)
    for term in ('loss_st', 'loss_fair', 'loss_align'):
        assert torch.equal(first[term], second[term]), term
    assert not torch.equal(first['loss_mim'], second['loss_mim'])
    # what is not masked is seen: the test can fail
    visible = torch.where(pixels.unsqueeze(1), strong, 9.0)
    model.loss([weak, visible], samples)
    assert not torch.equal(seen[4], logits)


def test_a_few_steps(case, batch):
    """All terms are finite, all of the student moves, the teacher follows."""
    _, _, model = case
    (weak, strong), samples = batch
    model = copy.deepcopy(model).train()
    wrapper = build_optim_wrapper(
        model, dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
    )
    before = {n: v.clone() for n, v in model.state_dict().items()}
    for _ in range(2):
        losses = model.loss([weak, strong], samples)
        assert losses['conf_ratio'] == 1
        loss, log = model.parse_losses(losses)
        assert all(value.isfinite() for value in log.values()), log
        wrapper.update_params(loss)
        ema_update(*zip(*model.teacher_and_student(), strict=False), 0.9)
    still = {
        n
        for n, p in model.named_parameters()
        if not n.startswith('teacher.') and torch.equal(p, before[n])
    }
    assert not still
    assert any(
        not torch.equal(value, before[name])
        for name, value in model.state_dict().items()
        if name.startswith('teacher.')
    )


@pytest.mark.parametrize('teacher', [False, True])
@torch.no_grad()
def test_is_published(case, batch, tmp_path, teacher):
    """As MMPretrain's own parts, with the same logits: at the end of a run.

    Tolerance: float32, the scale of the logits multiplied in before.
    """
    name, _, model = case
    (weak, _), _ = batch
    model = copy.deepcopy(model).eval()
    for param in model.teacher.parameters():
        param += 0.02 * torch.randn_like(param)
    config = must_config(name, checkpoint='gone.pth')
    config['data_preprocessor'] = dict(
        type='TwoViewDataPreprocessor', mean=[0] * 3, std=[255] * 3
    )
    checkpoint = tmp_path / 'epoch_1.pth'
    save_tensors(
        dict(
            state_dict=model.state_dict(),
            # as MMEngine writes it
            meta=dict(cfg=f'model = {config!r}\n'),
        ),
        checkpoint,
    )
    weights, described = publish(checkpoint, tmp_path / 'x.pth', teacher)
    plain = load_published(weights, described)
    expected = (model.teacher if teacher else model)(weak)
    torch.testing.assert_close(plain(weak), expected, rtol=1e-5, atol=1e-5)
    other = (model if teacher else model.teacher)(weak)
    assert (other - expected).abs().max() > 1e-3
    assert 'must_mm' not in described.read_text()


def test_every_backbone_of_the_docs_is_tested():
    """The rows of docs/backbones.md, but CLIP's, which test_publish has."""
    page = (ROOT / 'docs' / 'backbones.md').read_text(encoding='utf-8')
    rows = page.split('|---|---|---|---|---|')[1].split('\n\n')[0]
    named = {
        name.split('(')[0]
        for row in rows.strip().splitlines()
        for name in re.findall(r'`([^`]+)`', row.split('|')[1])
    }
    tested = {case[0]['type'] for case in CASES.values()}
    assert named == tested


def test_layer_decay_without_depths_names_the_key():
    model = MODELS.build(must_config('mobilenet_v2', checkpoint='none.pth'))
    with pytest.raises(
        NotImplementedError, match=r'optim_wrapper\.constructor='
    ):
        model.get_layer_depth('backbone.conv1.conv.weight')
