"""Features of several models; data loaders; several processes."""

import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from must_mm.evaluation.features import (
    batch_features,
    extract_features,
    image_features,
)
from tests.tiny import SIZE, TEST_PIPELINE, TRAIN_PIPELINE, dataset

VIT = dict(
    type='VisionTransformer',
    arch=dict(
        embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32
    ),
    img_size=SIZE,
    patch_size=8,
)


def build(backbone: dict, **options):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=backbone,
            data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3),
            **options,
        )
    )
    return model.eval()


def loader(images, ann_file='labels.txt', **changes):
    options = dict(
        batch_size=5,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=dataset(images, TEST_PIPELINE, ann_file),
    )
    return Runner.build_dataloader(options | changes)


@pytest.fixture
def batch():
    return torch.randn(3, 3, SIZE, SIZE)


@torch.no_grad()
def test_tokens_of_a_transformer(batch):
    model = build(dict(VIT, out_type='raw'))
    tokens = model.backbone(batch)[-1]
    assert tokens.shape == (3, 17, 16)
    assert torch.equal(image_features(model, batch), tokens[:, 0])
    found = image_features(model, batch, 'class_token')
    assert torch.equal(found, tokens[:, 0])
    found = image_features(model, batch, 'mean')
    assert torch.equal(found, tokens[:, 1:].mean(1))


@torch.no_grad()
def test_transformer_without_class_token(batch):
    model = build(dict(VIT, out_type='raw', with_cls_token=False))
    tokens = model.backbone(batch)[-1]
    for feature in (None, 'mean'):
        found = image_features(model, batch, feature)
        assert torch.equal(found, tokens.mean(1))
    with pytest.raises(ValueError, match="no 'class_token' feature"):
        image_features(model, batch, 'class_token')


@torch.no_grad()
def test_pooled_by_the_backbone(batch):
    """Its own vectors are taken; another pooling cannot be had of them."""
    model = build(dict(VIT, out_type='cls_token'))
    for feature in (None, 'class_token'):
        found = image_features(model, batch, feature)
        assert torch.equal(found, model.backbone(batch)[-1])
    with pytest.raises(ValueError, match="model.backbone.out_type='raw'"):
        image_features(model, batch, 'mean')
    model = build(dict(VIT, out_type='avg_featmap'))
    with pytest.raises(ValueError, match="no 'class_token' feature"):
        image_features(model, batch, 'class_token')


@torch.no_grad()
def test_map_of_a_cnn(batch):
    """As MMPretrain's average pooling."""
    model = build(
        dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
        neck=dict(type='GlobalAveragePooling'),
    )
    expected = model.extract_feat(batch)[-1]
    assert expected.shape == (3, 64)
    for feature in (None, 'mean', 'neck'):
        found = image_features(model, batch, feature)
        torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="no 'class_token' feature"):
        image_features(model, batch, 'class_token')


@torch.no_grad()
def test_mae_is_not_masked(batch):
    model = MODELS.build(
        dict(
            type='MAE',
            backbone=dict(VIT, type='MAEViT'),
            neck=dict(
                type='MAEPretrainDecoder',
                num_patches=16,
                patch_size=8,
                embed_dim=16,
                decoder_embed_dim=16,
                decoder_depth=1,
                decoder_num_heads=2,
            ),
            head=dict(
                type='MAEPretrainHead',
                patch_size=8,
                loss=dict(type='PixelReconstructionLoss', criterion='L2'),
            ),
        )
    ).eval()
    tokens = model.backbone(batch, mask=None)[-1]
    found = image_features(model, batch, 'mean')
    assert torch.equal(found, tokens[:, 1:].mean(1))
    with pytest.raises(ValueError, match="'neck' needs a classifier"):
        image_features(model, batch, 'neck')


@torch.no_grad()
def test_student_and_teacher(config, batch):
    model = MODELS.build(config.model).eval()
    with torch.no_grad():
        for param in model.teacher.parameters():
            param.mul_(1.1)
    for who, network in (('student', model), ('teacher', model.teacher)):
        model.predict_with = who
        tokens = network.backbone(batch)
        found = image_features(model, batch)
        assert torch.equal(found, tokens[-1][:, 0])
        found = image_features(model, batch, 'neck')
        assert torch.equal(found, network.neck(tokens)[-1])


@pytest.mark.parametrize('collate', ['default_collate', 'pseudo_collate'])
@pytest.mark.parametrize(
    'preprocessor', ['ClsDataPreprocessor', 'SelfSupDataPreprocessor']
)
def test_whole_set_in_order(images, collate, preprocessor):
    """The same for every preprocessor and collation; mode is kept."""
    model = build(dict(VIT, drop_rate=0.5, out_type='raw'))
    model.data_preprocessor = MODELS.build(
        dict(type=preprocessor, mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True)
    )
    data = loader(images, collate_fn=dict(type=collate))
    expected = [
        model.backbone((item['inputs'].flip(0)[None].float() - 120) / 60)[-1][
            0, 0
        ]
        for item in data.dataset
    ]
    model.train()
    features, labels = extract_features(model, data)
    assert model.training
    assert labels.tolist() == [label for label in range(4) for _ in range(6)]
    torch.testing.assert_close(features, torch.stack(expected))
    assert not features.requires_grad


def test_unusable_loaders_say_so(images):
    model = build(VIT)
    cases = [
        (loader(images, 'names.txt'), 'query.dataset gives none'),
        (loader(images, drop_last=True), 'query gave 20 of 24 images'),
    ]
    for data, message in cases:
        with pytest.raises(ValueError, match=message):
            extract_features(model, data, name='query')
    for collate in ('default_collate', 'pseudo_collate'):
        views = loader(
            images,
            dataset=dataset(images, TRAIN_PIPELINE),
            collate_fn=dict(type=collate),
        )
        with pytest.raises(ValueError, match='without CropViews or MultiView'):
            batch_features(model, next(iter(views)))


def test_unusable_models_say_so(images):
    with pytest.raises(ValueError, match="class_token, mean, neck.*'best'"):
        extract_features(build(VIT), loader(images), 'best')
    with pytest.raises(TypeError, match="type='ImageClassifier'"):
        extract_features(torch.nn.Linear(1, 1), loader(images))
    with pytest.raises(ValueError, match='needs a classifier with model.neck'):
        extract_features(build(VIT), loader(images), 'neck')
