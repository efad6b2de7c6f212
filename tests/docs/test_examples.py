"""The examples: each does, without must_mm's runner, what the package does."""

import re
import runpy
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer
from PIL import Image

from must_mm import load_classifier
from must_mm.weights.open_clip_start import OpenCLIPStart
from must_mm.weights.publish import export_onnx, load_published, publish
from tests.tiny import CLASSES, ROOT

EXAMPLES = ROOT / 'examples'


@pytest.fixture(scope='module')
def start(clip, tmp_path_factory):
    """A converted random CLIP."""
    path = tmp_path_factory.mktemp('start') / 'start.pth'
    OpenCLIPStart(classes=list(CLASSES), **clip).build(path)
    return path


def main(name: str, monkeypatch, *argv) -> dict:
    """Run an example as a command, here."""
    path = EXAMPLES / f'{name}.py'
    monkeypatch.setattr(sys, 'argv', [str(path), *map(str, argv)])
    return runpy.run_path(str(path), run_name='__main__')


def test_plain_loop(start, images, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'adapted.pth'
    torch.manual_seed(0)
    main(
        'plain_loop', monkeypatch, start, images / 'images',
        *('--epochs', 2, '--batch', 8, '--rate', 1e-3, '--out', out),
    )  # fmt: skip
    printed = capsys.readouterr().out
    for name in ('loss_st', 'loss_fair', 'loss_mim', 'loss_align'):
        assert name in printed
    before, after = load_classifier(start), load_classifier(out)
    assert after._dataset_meta == before._dataset_meta
    changed = {
        name
        for name, weight in before.state_dict().items()
        if not torch.equal(weight, after.state_dict()[name])
    }
    assert 'head.classifier' in changed and len(changed) > 20


def test_use_elsewhere(start, images, tmp_path, monkeypatch, capsys):
    weights, config = publish(start, tmp_path / 'model.pth')
    model = load_published(weights, config)
    export_onnx(model, weights.with_suffix('.onnx'))
    image = next((images / 'images').rglob('*.png'))
    example = main('use_elsewhere', monkeypatch, weights, image)
    printed = capsys.readouterr().out
    lines = dict(re.findall(r'(MMPretrain|PyTorch|ONNX): (.*)', printed))
    classify = ImageClassificationInferencer(
        str(config), str(weights), device='cpu'
    )
    (found,) = classify(str(image))
    assert lines == dict.fromkeys(
        ('MMPretrain', 'PyTorch', 'ONNX'), found['pred_class']
    )
    pixels = example['pixels'](image, Config.fromfile(config))
    logits = example['with_torch'](weights, pixels)
    assert np.allclose(
        example['with_onnx'](weights, pixels), logits, atol=1e-4
    )
    scores = torch.from_numpy(logits).softmax(1)[0].numpy()
    # the image is prepared as MMPretrain prepares it
    assert np.allclose(scores, found['pred_scores'], atol=2e-3)


def test_other_preparations_are_refused(tmp_path):
    Image.new('RGB', (8, 8)).save(tmp_path / 'x.png')
    pixels = runpy.run_path(str(EXAMPLES / 'use_elsewhere.py'))['pixels']
    config = Config(
        dict(
            test_dataloader=dict(
                dataset=dict(
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='Resize', scale=(8, 8)),
                        dict(type='PackInputs'),
                    ]
                )
            )
        )
    )
    with pytest.raises(ValueError, match='resized and cropped'):
        pixels(tmp_path / 'x.png', config)
