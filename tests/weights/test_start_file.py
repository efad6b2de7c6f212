"""Classifiers in one file: sources, inferencer, start of a run, the tool."""

import os
import runpy
import sys

import numpy as np
import open_clip
import pytest
import torch
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import MODELS
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from must_mm.checkpoints.plain import load_tensors
from must_mm.utils.paths import tool_path
from must_mm.weights.clip_source import has_quick_gelu, preprocessing
from must_mm.weights.open_clip_start import OpenCLIPStart
from must_mm.weights.origin import is_jit_archive
from must_mm.weights.start_file import ConvertedStart, load_classifier
from tests.long.tower_check import (
    CLASSES,
    TEMPLATES,
    clip_logits,
    write_random_clip,
)
from tests.tiny import tiny_config

SMALL = dict(image_size=32, patch_size=8, width=128, layers=2)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('clip')
    return write_random_clip(folder, 'ViT-B-16-quickgelu', SMALL)


def convert(files, out, **changes):
    options = dict(files, classes=CLASSES, templates=TEMPLATES, **changes)
    OpenCLIPStart(**options).build(out)
    return out


@pytest.fixture(scope='module')
def converted(files, tmp_path_factory):
    return convert(files, tmp_path_factory.mktemp('out') / 'x.pth')


def must_config(images, tmp_path, start, **backbone):
    sizes = dict(
        embed_dims=128, num_layers=2, num_heads=2, feedforward_channels=512
    )
    changes = {
        'model.backbone.arch': sizes,
        'model.neck': dict(in_channels=128, out_channels=512),
        'model.head': dict(num_classes=5, in_channels=512),
        'model.decoder.in_channels': 128,
        'model.start': start,
    }
    changes.update({f'model.backbone.{k}': v for k, v in backbone.items()})
    return tiny_config(images, tmp_path / 'run', changes).model


# ------------------------------------------------------------------ sources


def jit_archive(state: dict, path) -> None:
    """Write weights as OpenAI did: half precision, TorchScript, sizes."""

    class Tree(nn.Module):
        def forward(self, x):
            return x

    root = Tree()
    for name, value in state.items():
        *path_to, leaf = name.split('.')
        node = root
        for part in path_to:
            if not hasattr(node, part):
                node.add_module(part, Tree())
            node = getattr(node, part)
        node.register_parameter(leaf, nn.Parameter(value.half()))
    for name, size in (('input_resolution', 32), ('context_length', 16)):
        root.register_buffer(name, torch.tensor(size))
    root.register_buffer('vocab_size', torch.tensor(49408))
    torch.jit.script(root).save(str(path))


@pytest.mark.parametrize('kind', ['safetensors', 'jit', 'nested'])
@torch.no_grad()
def test_every_kind_of_file_gives_the_same_classifier(
    files, converted, tmp_path, kind
):
    state = torch.load(files['pretrained'])
    half = {name: value.half().float() for name, value in state.items()}
    reference = tmp_path / 'reference.pt'
    torch.save(half, reference)
    if kind == 'jit':
        path = tmp_path / 'clip.pt'
        jit_archive(state, path)
        assert is_jit_archive(path) and not is_jit_archive(reference)
        # OpenAI's, whatever the architecture's config says
        assert has_quick_gelu('ViT-B-16', str(path))
        assert not has_quick_gelu('ViT-B-16', str(reference))
    elif kind == 'safetensors':
        path = tmp_path / 'clip.safetensors'
        save_file(half, path)
    else:  # saved while training on several GPUs
        path = tmp_path / 'clip.pt'
        torch.save(
            dict(state_dict={f'module.{k}': v for k, v in half.items()}), path
        )
    expected, found = (
        load_classifier(
            convert(dict(files, pretrained=str(source)), tmp_path / 'x.pth')
        ).state_dict()
        for source in (reference, path)
    )
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[k], found[k]) for k in expected)


def test_no_archive_outside_the_converter(files, tmp_path):
    path = tmp_path / 'clip.pt'
    jit_archive({'visual.proj': torch.ones(2, 2)}, path)
    with pytest.raises(ValueError, match='clip.pt'):
        load_tensors(path)


def test_images_are_prepared_as_the_tag_says(files):
    siglip = preprocessing('ViT-B-16-SigLIP', 'webli')
    assert siglip['mean'] == (0.5, 0.5, 0.5)
    assert siglip['resize_mode'] == 'squash'
    # a file of weights gets what all tags agree on, or CLIP's
    path = files['pretrained']
    assert preprocessing('ViT-B-16-SigLIP', path) == siglip
    clip = preprocessing('ViT-B-16', 'openai')
    assert clip['mean'] == open_clip.OPENAI_DATASET_MEAN
    assert preprocessing('ViT-L-14', path) == clip


# --------------------------------------------------------------- classifier


@torch.no_grad()
def test_inferencer_ranks_as_open_clip(files, converted, tmp_path):
    """A JPEG, not square, through MMPretrain's whole pipeline."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((70, 50), Image.BICUBIC)
    image.save(tmp_path / 'x.jpg', quality=95)

    name = os.path.basename(files['model']).removesuffix('.json')
    _, _, prepare = open_clip.create_model_and_transforms(name)
    pixels = prepare(Image.open(tmp_path / 'x.jpg'))[None]
    expected = clip_logits(files, pixels).softmax(1)[0]
    inferencer = ImageClassificationInferencer(load_classifier(converted))
    (found,) = inferencer(str(tmp_path / 'x.jpg'))
    order = expected.argsort(descending=True)
    assert found['pred_class'] == CLASSES[order[0]]
    scores = torch.from_numpy(found['pred_scores'])
    assert torch.equal(scores.argsort(descending=True), order)
    # JPEG decoders differ by a grey level here and there
    torch.testing.assert_close(scores, expected, rtol=0.05, atol=1e-3)


def test_other_files_are_refused(files, tmp_path):
    with pytest.raises(ValueError, match='tools/convert_clip.py'):
        load_classifier(files['pretrained'])
    with pytest.raises(FileNotFoundError, match='none.pth'):
        load_classifier(tmp_path / 'none.pth')


# -------------------------------------------------------------------- start


def test_a_run_starts_from_the_file_alone(
    converted, images, tmp_path, monkeypatch
):
    def refuse(*_args, **_kwargs):
        raise AssertionError('open_clip was asked')

    for name in ('create_model', 'get_tokenizer', 'get_model_config'):
        monkeypatch.setattr(open_clip, name, refuse)
    start = dict(type='ConvertedStart', checkpoint=str(converted))
    model = MODELS.build(must_config(images, tmp_path, start))
    model.init_weights()
    model.eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert model.start.classes == list(CLASSES)
    expected = load_classifier(converted)(x)
    for found in (model(x), model.teacher(x)):
        # float32, the same sums in another order
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_cache_of_open_clip_start_is_such_a_file(
    files, converted, images, tmp_path
):
    start = OpenCLIPStart(**files, classes=CLASSES, templates=TEMPLATES)
    model = MODELS.build(
        must_config(
            images,
            tmp_path,
            dict(type='ConvertedStart', checkpoint=str(start.prepare())),
        )
    )
    model.init_weights()
    expected = load_classifier(converted).state_dict()
    found = model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(norm_cfg=dict(eps=1e-6)), r'norm_cfg\.eps is 1e-06.*1e-05'),
        (
            dict(layer_cfgs=dict(act_cfg=dict(type='GELU'))),
            'act_cfg.type is GELU.*QuickGELU',
        ),
    ],
)
def test_another_function_is_refused(
    converted, images, tmp_path, change, message
):
    """The shapes fit, nothing else would tell."""
    start = dict(type='ConvertedStart', checkpoint=str(converted))
    config = must_config(images, tmp_path, start, **change)
    with pytest.raises(ValueError, match=message):
        MODELS.build(config).init_weights()


def test_other_normalisation_is_refused(converted, images, tmp_path):
    start = dict(type='ConvertedStart', checkpoint=str(converted))
    config = must_config(images, tmp_path, start)
    config.data_preprocessor.std = [127.5, 127.5, 127.5]
    with pytest.raises(
        ValueError,
        match=r'data_preprocessor.std is \[127.5.*trained with \[68.5',
    ):
        MODELS.build(config).init_weights()


def test_another_number_of_classes_is_refused(converted, images, tmp_path):
    start = dict(type='ConvertedStart', checkpoint=str(converted))
    config = must_config(images, tmp_path, start)
    config.head.num_classes = 4
    with pytest.raises(
        ValueError, match='start.checkpoint has 5 classes.*num_classes is 4'
    ):
        MODELS.build(config).init_weights()


def test_missing_file_names_the_key():
    with pytest.raises(FileNotFoundError, match='model.start.checkpoint'):
        ConvertedStart('/nowhere/x.pth')


# --------------------------------------------------------------------- tool


def test_tool_writes_the_same_file(
    files, converted, tmp_path, monkeypatch, capsys
):
    for name, lines in (('classes', CLASSES), ('templates', TEMPLATES)):
        (tmp_path / f'{name}.txt').write_text('\n'.join(lines))
    options = dict(
        files,
        classes=tmp_path / 'classes.txt',
        templates=tmp_path / 'templates.txt',
        out=tmp_path / 'new' / 'x.pth',
    )

    def run(**changes):
        flags = [
            part
            for name, value in {**options, **changes}.items()
            for part in (f'--{name}', str(value))
        ]
        tool = str(tool_path('convert_clip.py'))
        monkeypatch.setattr(sys, 'argv', [tool, *flags])
        runpy.run_path(tool, run_name='__main__')

    run()
    expected, found = (
        torch.load(path) for path in (converted, options['out'])
    )
    assert found['meta'] == expected['meta']
    for name, value in expected['state_dict'].items():
        assert torch.equal(found['state_dict'][name], value)
    with pytest.raises(SystemExit):
        run(pretrained='/nowhere/x.pt')
    assert (
        "--pretrained: '/nowhere/x.pt' is neither" in capsys.readouterr().err
    )
