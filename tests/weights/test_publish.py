"""Plain classifiers: the same logits, nothing of MUST, nothing executed."""

import hashlib
import runpy
import sys

import open_clip
import pytest
import torch
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from must_mm.checkpoints.plain import load_tensors
from must_mm.utils.paths import tool_path
from must_mm.weights.publish import (
    _image_size,
    _test_pipeline,
    export_onnx,
    load_published,
    plain_classifier,
    publish,
    read_config,
)
from must_mm.weights.start_file import save_classifier
from tests.tiny import CLASSES, SIZE, tiny_config, train

WHO = pytest.mark.parametrize('teacher', [False, True])


@pytest.fixture(scope='module')
def run(images, tmp_path_factory):
    """One epoch: student and teacher differ."""
    folder = tmp_path_factory.mktemp('run')
    config = tiny_config(images, folder, {'train_cfg.max_epochs': 1})
    model = train(config).model.eval()
    return model, folder / 'epoch_1.pth'


def inputs() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 3, SIZE, SIZE, generator=generator)


def logits(model, teacher: bool) -> torch.Tensor:
    with torch.no_grad():
        return (model.teacher if teacher else model)(inputs())


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """To 1e-5 of the largest logit: two orders of float32 operations."""
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@WHO
@torch.no_grad()
def test_plain_mmpretrain_gives_the_same_logits(run, tmp_path, teacher):
    model, checkpoint = run
    weights, config = publish(checkpoint, tmp_path / 'x.pth', teacher)
    expected = logits(model, teacher)
    plain = load_published(weights, config)
    assert_close(plain(inputs()), expected)
    # so that the comparison means something
    other = logits(model, not teacher)
    assert (other - expected).abs().max() > 1e-3 * expected.abs().max()
    assert 'must_mm' not in config.read_text()
    used = {type(module).__module__ for module in plain.modules()}
    assert not any(name.startswith('must_mm') for name in used)


def test_file_holds_tensors_and_is_named_by_its_hash(run, tmp_path):
    _, checkpoint = run
    weights, config = publish(checkpoint, tmp_path / 'x.pth')
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.name == f'x-{digest[:8]}.pth'
    assert config.name == f'x-{digest[:8]}.py'
    content = torch.load(weights, weights_only=True)
    assert content.keys() == {'state_dict', 'meta'}
    assert content['meta'] == dict(dataset_meta=dict(classes=list(CLASSES)))
    assert all(
        isinstance(value, torch.Tensor)
        for value in content['state_dict'].values()
    )
    # the same content has the same name, wherever it is written
    again, _ = publish(checkpoint, tmp_path / 'elsewhere' / 'x.pth')
    assert again.name == weights.name
    other, _ = publish(checkpoint, tmp_path / 'x.pth', teacher=True)
    assert other.name != weights.name


def test_inferencer_names_the_classes(run, images, tmp_path):
    model, checkpoint = run
    weights, config = publish(checkpoint, tmp_path / 'x.pth')
    inferencer = ImageClassificationInferencer(str(config), str(weights))
    (found,) = inferencer(str(images / 'images' / 'cat' / '0.png'))
    assert found['pred_class'] in CLASSES
    assert len(found['pred_scores']) == len(CLASSES)


@torch.no_grad()
def test_other_backbones_keep_their_parts(tmp_path):
    """open_clip's module stays; the head is MMPretrain's."""
    architecture = open_clip.get_model_config('RN50')
    architecture['vision_cfg'].update(
        layers=[1, 1, 1, 1], width=16, image_size=64
    )
    parts = dict(
        backbone=dict(type='OpenCLIPBackbone', model=architecture),
        neck=dict(type='UnitFeature'),
        head=dict(
            type='PseudoLabelHead',
            num_classes=2,
            in_channels=architecture['embed_dim'],
            fairness=None,
        ),
        data_preprocessor=dict(mean=[0] * 3, std=[255] * 3, to_rgb=True),
    )
    model = MODELS.build(dict(type='ImageClassifier', **parts))
    model.init_weights()
    model.eval()
    save_classifier(
        tmp_path / 'x.pth', model.state_dict(), dict(model=parts), ['a', 'b']
    )
    weights, config = publish(tmp_path / 'x.pth', tmp_path / 'out.pth')
    images = torch.randn(2, 3, 64, 64)
    plain = load_published(weights, config)
    assert type(plain.head).__name__ == 'LinearClsHead'
    assert Config.fromfile(config).custom_imports.imports == ['must_mm']
    assert_close(plain(images), model(images))


@torch.no_grad()
@pytest.mark.parametrize(
    'backbone, neck, head, channels',
    [
        (
            dict(type='ResNet', depth=18, stem_channels=4, base_channels=4),
            dict(type='GlobalAveragePooling'),
            'LinearPseudoLabelHead',
            32,
        ),
        (
            dict(
                type='DistilledVisionTransformer',
                arch='deit-t',
                img_size=32,
                patch_size=16,
            ),
            None,
            'DistilledPseudoLabelHead',
            192,
        ),
    ],
    ids=['linear', 'distilled'],
)
def test_trained_heads_become_mmpretrains(
    tmp_path, backbone, neck, head, channels
):
    """Their scale is folded into weight and bias."""
    parts = dict(
        backbone=backbone,
        neck=neck,
        head=dict(
            type=head,
            num_classes=3,
            in_channels=channels,
            logit_scale=2.5,
            fairness=None,
        ),
        data_preprocessor=dict(mean=[0] * 3, std=[255] * 3, to_rgb=True),
    )
    model = MODELS.build(dict(type='ImageClassifier', **parts))
    model.init_weights()
    for name, value in model.head.named_parameters():
        if name.endswith('bias'):
            torch.nn.init.normal_(value)
    model.eval()
    path = tmp_path / 'x.pth'
    save_classifier(
        path, model.state_dict(), dict(model=parts), ['a', 'b', 'c']
    )
    weights, config = publish(path, tmp_path / 'out.pth')
    assert 'must_mm' not in config.read_text()
    plain = load_published(weights, config)
    samples = [DataSample() for _ in range(4)]
    plain.head.predict(plain.extract_feat(inputs()), samples)
    found = torch.stack([sample.pred_score for sample in samples])
    assert_close(found, model(inputs()).softmax(dim=1))


def test_onnxruntime_gives_the_same_logits(run, tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    model, checkpoint = run
    weights, config = publish(checkpoint, tmp_path / 'x.pth')
    path = weights.with_suffix('.onnx')
    assert export_onnx(load_published(weights, config), path) <= 1e-5
    session = runtime.InferenceSession(
        str(path), providers=['CPUExecutionProvider']
    )
    # at another batch size than it was exported with
    (found,) = session.run(None, {'images': inputs().numpy()})
    assert_close(torch.from_numpy(found), logits(model, False))


def test_tool_prints_what_it_writes(run, tmp_path, monkeypatch, capsys):
    _, checkpoint = run
    tool = str(tool_path('publish_model.py'))
    out = str(tmp_path / 'x.pth')
    monkeypatch.setattr(sys, 'argv', [tool, str(checkpoint), out, '--teacher'])
    runpy.run_path(tool, run_name='__main__')
    weights, _ = publish(checkpoint, tmp_path / 'x.pth', teacher=True)
    assert str(weights) in capsys.readouterr().out


# ---------------------------------------------------------------- bad input


def test_config_text_is_read_as_data(run):
    _, checkpoint = run
    text = load_tensors(checkpoint)['meta']['cfg']
    # what MMEngine, which executes it, makes of the same text
    assert read_config(text) == Config.fromstring(text, '.py').to_dict()


@pytest.mark.parametrize(
    'text',
    [
        "x = __import__('os').getcwd()",
        'import os',
        'x = [print(1)]',
        'x = dict(**{})',
        'print(1)',
    ],
)
def test_config_text_is_not_executed(text, capsys):
    with pytest.raises(ValueError, match='the config in the checkpoint'):
        read_config(text)
    assert not capsys.readouterr().out


def test_checkpoints_without_a_classifier(run, tmp_path):
    _, checkpoint = run
    content = load_tensors(checkpoint)
    student = {
        name: value
        for name, value in content['state_dict'].items()
        if not name.startswith('teacher.')
    }
    torch.save(dict(content, state_dict=student), tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='x.pth holds no teacher'):
        publish(tmp_path / 'x.pth', tmp_path / 'out.pth', teacher=True)
    del student['backbone.cls_token']
    torch.save(dict(content, state_dict=student), tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=r'backbone\.cls_token'):
        publish(tmp_path / 'x.pth', tmp_path / 'out.pth')
    torch.save(dict(state_dict=student), tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='how its model is built'):
        publish(tmp_path / 'x.pth', tmp_path / 'out.pth')
    assert not list(tmp_path.glob('out*'))


def test_input_is_left_alone(run):
    """The run's own config and weights are not edited."""
    _, checkpoint = run
    content = load_tensors(checkpoint)
    config = read_config(content['meta']['cfg'])['model']
    before = repr(config), list(content['state_dict'])
    state = {
        k: v
        for k, v in content['state_dict'].items()
        if k.startswith(('backbone.', 'neck.', 'head.'))
    }
    plain_classifier(config, state)
    assert (repr(config), list(content['state_dict'])) == before


def test_published_config_needs_no_loader_of_ours():
    resize = dict(type='ResizeEdge', scale=32)
    dataset = dict(pipeline=[dict(type='LoadImage'), resize])
    config = dict(test_dataloader=dict(dataset=dataset))
    assert _test_pipeline(config) == [dict(type='LoadImageFromFile'), resize]
    assert dataset['pipeline'][0] == dict(type='LoadImage')
    assert not _test_pipeline({})


def test_published_config_of_a_test_set_in_parts(run, images, tmp_path):
    """Images of two folders, as the recipes of clothes have them."""
    _, checkpoint = run
    content = load_tensors(checkpoint)
    config = read_config(content['meta']['cfg'])
    part = config['test_dataloader']['dataset']
    config['test_dataloader']['dataset'] = dict(
        type='ConcatDataset', datasets=[part, part]
    )
    content['meta'] = dict(config=config)
    torch.save(content, tmp_path / 'parts.pth')
    weights, described = publish(tmp_path / 'parts.pth', tmp_path / 'x.pth')
    expected = publish(checkpoint, tmp_path / 'whole.pth')[1]
    assert described.read_text() == expected.read_text()
    inferencer = ImageClassificationInferencer(str(described), str(weights))
    assert inferencer(str(images / 'images' / 'cat' / '0.png'))
    assert _image_size(Config.fromfile(described)) == (SIZE, SIZE)
