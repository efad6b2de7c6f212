"""The quickstart: its renderings, its target, and all of it in short."""

import json
from importlib.metadata import version

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from must_mm.quickstart.render import digit_fonts, glyph_bank, render_digits
from must_mm.quickstart.report import read_log, table
from must_mm.quickstart.target import CLASS_NAMES, upscale, write_digits
from must_mm.quickstart.tiny_clip import (
    NAME,
    TEMPLATES,
    contrastive_loss,
    normalise,
    train_tiny_clip,
)


def load_tiny_clip(folder):
    open_clip.add_model_config(folder / f'{NAME}.json')
    weights = str(folder / f'{NAME}.pt')
    return open_clip.create_model(NAME, pretrained=weights).eval()


@torch.no_grad()
def zero_shot_accuracy(model, folder):
    """By open_clip alone, on the images of a folder for each class."""
    tokenizer = open_clip.get_tokenizer(NAME)
    weights = torch.stack(
        [
            model.encode_text(
                tokenizer([line.format(name) for line in TEMPLATES]),
                normalize=True,
            ).mean(0)
            for name in CLASS_NAMES
        ]
    )
    weights = torch.nn.functional.normalize(weights, dim=1)
    right = []
    for label, name in enumerate(CLASS_NAMES):
        images = [
            np.asarray(Image.open(path).convert('RGB'))
            for path in sorted((folder / name).glob('*.png'))
        ]
        features = model.encode_image(normalise(np.stack(images)))
        right += ((features @ weights.T).argmax(1) == label).tolist()
    return np.mean(right)


def test_renderings_repeat_and_differ_by_seed():
    images, labels = render_digits(64, 32, seed=3)
    again, same_labels = render_digits(64, 32, seed=3)
    other, _ = render_digits(64, 32, seed=4)
    assert images.shape == (64, 32, 32, 3) and images.dtype == np.uint8
    assert (images == again).all() and (labels == same_labels).all()
    assert (images != other).any()
    assert (images == images[..., :1]).all()  # grey
    assert set(labels) <= set(range(10))
    # light ink on a dark ground, as the target has it, in every image
    border = np.concatenate([images[:, 0], images[:, -1]], 1)
    assert (images.max((1, 2, 3)) > border.mean((1, 2)).max()).all()


def test_every_font_draws_ten_different_digits():
    bank = glyph_bank()
    assert len(bank) == len(digit_fonts()) >= 10
    for font in bank:
        assert (font.sum((1, 2)) > 0).all()
        distance = torch.cdist(font.flatten(1), font.flatten(1))
        assert distance[~torch.eye(10, dtype=bool)].min() > 1


def test_target_is_the_whole_set_split_once(tmp_path):
    counts = write_digits(tmp_path, 32)
    source = load_digits()
    assert sum(counts.values()) == len(source.images)
    seen = []
    for split in counts:
        lines = (tmp_path / f'{split}_labels.txt').read_text().splitlines()
        assert len(lines) == counts[split]
        for line in lines:
            name, label = line.split()
            pixels = np.asarray(Image.open(tmp_path / split / name))
            assert pixels.shape == (32, 32, 3)
            seen.append((pixels[..., 0].tobytes(), int(label)))
            if split == 'train':  # neither folder nor name tells the class
                assert '/' not in name
            else:
                assert name.split('/')[0] == CLASS_NAMES[int(label)]
    originals = upscale(source.images, 32)
    assert sorted(seen) == sorted(
        (image.tobytes(), int(label))
        for image, label in zip(originals, source.target, strict=True)
    )


def test_contrast_counts_every_caption_of_the_class():
    logits = torch.randn(6, 6)
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    total = 0
    for scores in (logits, logits.T):
        for i in range(6):
            same = [j for j in range(6) if labels[j] == labels[i]]
            log_prob = scores[i].log_softmax(0)
            total -= sum(log_prob[j] for j in same) / len(same)
    torch.testing.assert_close(
        contrastive_loss(logits, labels), total / 12, rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(patch_size=7), 'patch_size 7 does not divide image_size 32'),
        (dict(renderings=100), 'at least 128'),
    ],
)
def test_start_model_refuses_sizes(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train_tiny_clip(tmp_path, seed=0, **changes)


def test_short_quickstart(short_quickstart):
    summary = json.loads((short_quickstart / 'summary.json').read_text())
    rates = {
        key: summary[key]
        for key in (
            'zero_shot', 'student', 'teacher', 'self_training_only', 'balanced'
        )
    }  # fmt: skip
    assert all(0 < rate <= 1 for rate in rates.values())
    assert summary['versions']['torch'] == version('torch')
    assert set(summary['seconds']) == {
        'start', 'target', 'must', 'self_training', 'balanced',
    }  # fmt: skip
    # What the config builds is the very classifier that open_clip makes of
    # the same files; one image of the 400 may sit on a tie.
    theirs = zero_shot_accuracy(
        load_tiny_clip(short_quickstart / 'start'),
        short_quickstart / 'digits' / 'test',
    )
    assert abs(rates['zero_shot'] - theirs) <= 1 / 400
    picture = np.asarray(Image.open(short_quickstart / 'quickstart.png'))
    assert picture.shape[1] > 1000 and picture.std() > 10
    shown = table(summary)
    for key, rate in rates.items():
        assert f'{100 * rate:.1f} %' in shown, key
    log = read_log(short_quickstart / 'must')
    assert log.student == [rates['zero_shot'], rates['student']]
    assert log.epoch and log.epoch[-1] <= 1


def test_start_model_is_open_clips(short_quickstart):
    """Its two files are all that open_clip needs."""
    model = load_tiny_clip(short_quickstart / 'start')
    assert NAME in open_clip.list_models()
    assert model.logit_scale.exp() <= 100
    parameters = sum(p.numel() for p in model.visual.parameters())
    assert 5e5 < parameters < 2e6


def test_log_before_anything_was_confident(tmp_path):
    """There is no accuracy of such labels yet."""
    folder = tmp_path / 'now' / 'vis_data'
    folder.mkdir(parents=True)
    lines = [
        dict(epoch=1, iter=10, conf_ratio=0.0),
        dict(epoch=1, iter=20, conf_ratio=0.5, pseudo_label_acc=0.75),
    ]
    text = '\n'.join(json.dumps(line) for line in lines)
    (folder / 'scalars.json').write_text(text)
    first, second = read_log(tmp_path).pseudo_label_acc
    assert np.isnan(first) and second == 0.75


def test_log_of_a_run_that_did_not_start(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        read_log(tmp_path)
