"""The published RandAugment: its operations, how often, how strong.

The yardstick is timm's, whose operations are Pillow's.
"""

import random

import cv2
import numpy as np
import pytest
from mmpretrain.datasets.transforms import auto_augment
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from benchmarks.data import RAND_AUGMENT
from benchmarks.plain_views import published_ops
from must_mm.transforms.randaugment import PublishedRandAugment
from must_mm.transforms.shifts import cubic_weights, move_rows, translate_rows
from tests.transforms.distributions import (
    assert_same_distribution,
    assert_same_mean,
)

DRAWS = 3000
RNG = np.random.default_rng(0)
PHOTO = cv2.resize(
    RNG.integers(20, 200, (8, 9, 3), dtype=np.uint8),
    (72, 64),
    interpolation=cv2.INTER_CUBIC,
)
GREY = np.full_like(PHOTO, 77)
TINY = PHOTO[:5, :4].copy()
OPS = list(
    zip(PublishedRandAugment().transforms, published_ops(), strict=True)
)
ENHANCED = [
    f'{name}Increasing'
    for name in ('Color', 'Contrast', 'Brightness', 'Sharpness')
]
BY_NAME = pytest.mark.parametrize(
    'ours, published', OPS, ids=[op.name for _, op in OPS]
)


def test_operations_and_their_order():
    """Ours stand where the published ones do, with the same name."""
    same = dict(
        ColorIncreasing='Color',
        TranslateXRel='Translate',
        TranslateYRel='Translate',
        ShearX='Shear',
        ShearY='Shear',
    )
    for ours, published in OPS:
        name = same.get(published.name, published.name)
        assert name.removesuffix('Increasing') in type(ours).__name__
        if published.name[-1] in 'XY' or published.name.endswith('Rel'):
            horizontal = 'X' in published.name
            assert (ours.direction == 'horizontal') == horizontal


def test_how_often():
    """Two of 15, with replacement, each applied every other time."""
    augment = PublishedRandAugment()
    counts = np.zeros((len(augment.transforms), 2))

    def counted(number, draw):
        def disabled():
            off = draw()
            counts[number] += 1, not off
            return True

        return disabled

    for number, op in enumerate(augment.transforms):
        op.random_disable = counted(number, op.random_disable)
    pairs = 0
    for _ in range(DRAWS):
        before = counts[:, 0].copy()
        augment(dict(img=TINY))
        pairs += (counts[:, 0] - before).max() == 2
    for found, rate in (
        (counts[:, 0], 1 / 15),
        (counts[:, 1], 1 / 30),
    ):
        spread = np.sqrt(2 * DRAWS * rate * (1 - rate))
        assert np.abs(found - 2 * DRAWS * rate).max() <= 5 * spread
    assert counts[:, 0].sum() == 2 * DRAWS
    spread = np.sqrt(DRAWS / 15 * 14 / 15)
    assert abs(pairs - DRAWS / 15) <= 5 * spread
    # the yardstick says the same of itself
    assert {op.prob for _, op in OPS} == {0.5}


@BY_NAME
def test_how_strong(ours, published):
    """Magnitudes and signs are distributed as the published ones."""
    if published.level_fn is None:
        assert ours.magnitude_range is None
        return
    theirs = []
    for _ in range(DRAWS):
        magnitude = random.gauss(published.magnitude, published.magnitude_std)
        magnitude = max(0.0, min(magnitude, 10.0))
        theirs += published.level_fn(magnitude, published.hparams)
    found = [
        ours.random_negative(ours.random_magnitude()) for _ in range(DRAWS)
    ]
    if published.name in ('PosterizeIncreasing', 'SolarizeIncreasing'):
        found = np.ceil(found)  # bytes are whole: from 25.6 is from 26
    elif published.name == 'SolarizeAdd':
        found = np.floor(found)
    elif published.name in ENHANCED:
        found = np.maximum(0.1, 1 + np.array(found))
    assert_same_distribution(found, theirs)


def apply(op, image: np.ndarray, magnitude: float, sign: int) -> np.ndarray:
    """An operation of ours, at a magnitude of the published scale."""
    if op.magnitude_range:
        low, high = op.magnitude_range
        magnitude = low + magnitude / 10 * (high - low)
        op.random_magnitude = lambda: magnitude
    op.random_negative = lambda value: sign * value
    op.random_disable = lambda: False
    return op(dict(img=image))['img']


def expect(op, image: np.ndarray, magnitude: float, sign: int, patch):
    """The published operation on the same image, BGR."""
    patch.setattr(
        'timm.data.auto_augment._randomly_negate', lambda value: sign * value
    )
    args = op.level_fn(magnitude, op.hparams) if op.level_fn else ()
    image = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    return np.asarray(op.aug_fn(image, *args, **op.kwargs))[..., ::-1]


@pytest.mark.parametrize('number', range(15), ids=[op.name for _, op in OPS])
@pytest.mark.parametrize('sign', [1, -1])
def test_pixels_are_pillows(number, sign, monkeypatch):
    """Within a level; of a rotation, by OpenCV's smoother weights, most."""
    ours = PublishedRandAugment().transforms[number]
    published = published_ops()[number]
    rotation = published.name == 'Rotate'
    for image in (PHOTO, GREY, PHOTO[:, ::-1], PHOTO[3:40:2], TINY):
        if rotation and image is TINY:
            continue  # all edge, where OpenCV mixes the colours
        for magnitude in (0.0, 7.3, 9.0, 10.0):
            kept = image.copy()
            found = apply(ours, image, magnitude, sign).astype(int)
            np.testing.assert_array_equal(image, kept)
            # MMPretrain turns the other way round; both ways are as likely
            other = -sign if rotation else sign
            expected = expect(published, image, magnitude, other, monkeypatch)
            difference = np.abs(found - expected)
            assert found.shape == image.shape
            if rotation:
                assert difference.mean() < 2 and np.median(difference) <= 1
            else:
                assert difference.max() <= 1
                assert abs((found - expected).mean()) < 0.1


def test_what_builds_on_mmpretrains_operations():
    """Registered by name, so that a list of policies can have them."""
    ours = [
        op for op, _ in OPS if not type(op).__module__.startswith('mmpretrain')
    ]
    assert len(ours) == 13  # and MMPretrain's Invert and Rotate
    for op in ours:
        name = type(op).__name__
        assert TRANSFORMS.get(name) is type(op)
        assert isinstance(op, auto_augment.BaseAugTransform)


def test_options():
    augment = TRANSFORMS.build(
        dict(
            type='PublishedRandAugment',
            num_policies=1,
            policies=[dict(type='TableBrightness', magnitude_range=(0, 0.9))],
        )
    )
    assert len(augment.transforms) == 1
    images = [augment(dict(img=PHOTO))['img'] for _ in range(40)]
    changed = sum(not np.array_equal(image, PHOTO) for image in images)
    assert 0 < changed < 40  # by chance once in 10 ** 12


# ------------------------------------------------------------------ shifts


def test_mmpretrains_operations_with_their_draws():
    """Byte for byte what ``RandAugment`` with these settings makes."""
    kinds = (
        RAND_AUGMENT,
        dict(type='PublishedRandAugment', policies='timm_increasing'),
    )
    theirs, ours = (TRANSFORMS.build(kind) for kind in kinds)
    for seed in range(200):
        made = []
        for augment in (theirs, ours):
            np.random.seed(seed)
            made.append(augment(dict(img=PHOTO.copy()))['img'])
            made.append(np.random.rand(1))  # as many draws
        np.testing.assert_array_equal(made[0], made[2])
        assert made[1] == made[3]


def test_weights_interpolate():
    """At a pixel its colour; a ramp stays a ramp."""
    np.testing.assert_allclose(cubic_weights(0.0), [0, 1, 0, 0])
    fractions = np.linspace(0, 0.99, 34)
    weights = cubic_weights(fractions)
    np.testing.assert_allclose(weights.sum(0), 1, atol=1e-6)
    assert weights.shape == (4, 34) and weights.dtype == np.float32


@pytest.mark.parametrize('move', [0, 0.4, -0.5, 1.5, -3.2, 8.9, 9, 40, -40.7])
def test_one_move_for_all_rows_is_a_translation(move):
    fill = (1, 2, 3)
    alike = move_rows(PHOTO, np.full(len(PHOTO), float(move)), fill)
    found = translate_rows(PHOTO, float(move), fill)
    assert np.abs(found.astype(int) - alike).max() <= 1


def test_beyond_the_image_there_is_only_fill():
    for move in (80.0, -80.0):
        assert (translate_rows(PHOTO, move, (1, 2, 3)) == (1, 2, 3)).all()


# ------------------------------------------------------------------- whole


def test_mean_and_variance_of_pixels():
    """Over many draws: of each image's mean, variance and gradient."""
    augment, published = PublishedRandAugment(), published_ops()
    picture = Image.fromarray(np.ascontiguousarray(PHOTO[..., ::-1]))
    ours, theirs = [], []
    for _ in range(DRAWS // 2):
        ours.append(augment(dict(img=PHOTO))['img'][..., ::-1])
        image = picture
        for number in np.random.randint(15, size=2):
            image = published[number](image)
        theirs.append(np.asarray(image))
    for value in (
        lambda image: image[..., 0].mean(),
        lambda image: image[..., 2].mean(),
        lambda image: image.var(),
        lambda image: np.abs(np.diff(image.astype(int), axis=0)).mean(),
    ):
        assert_same_mean(
            [value(image) for image in ours],
            [value(image) for image in theirs],
        )
