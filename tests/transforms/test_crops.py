"""Crops are drawn as published and cut as Pillow would."""

import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from torchvision import transforms

from must_mm.transforms.crops import AreaCrop, Crop, EdgeCrop, resize
from tests.transforms.distributions import assert_same_distribution

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (150, 200, 3), dtype=np.uint8)
#: What photographs are: much that is coarse, little that is fine.
PHOTO = np.clip(
    np.asarray(Image.fromarray(NOISE[:15, :20]).resize((200, 150), 3), float)
    + RNG.normal(0, 8, NOISE.shape),
    0,
    255,
).astype(np.uint8)
SIDES = (300, 400)
DRAWS = 4000


def pillow(image, size, interpolation, box=None) -> np.ndarray:
    """Pillow's antialiased resizing to height and width."""
    kind = dict(bicubic=Image.BICUBIC, bilinear=Image.BILINEAR)[interpolation]
    return np.asarray(Image.fromarray(image).resize(size[::-1], kind, box))


# ---------------------------------------------------------------- resizing


@pytest.mark.parametrize('interpolation', ['bicubic', 'bilinear'])
@pytest.mark.parametrize(
    'size', [(64, 64), (149, 90), (32, 199), (150, 200), (170, 310)]
)
def test_resizing_is_pillows_within_a_level(size, interpolation):
    found = resize(PHOTO, size, interpolation)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    expected = pillow(PHOTO, size, interpolation)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_shrinking_averages():
    """A fine chess board becomes grey, where sampling alone keeps it."""
    board = np.indices((96, 96)).sum(0) % 2 * 255
    board = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    found = resize(board, (32, 32))
    assert np.abs(found.astype(int) - 128).max() < 16


def test_parts_of_images_and_thin_ones():
    """Views of arrays and images of one row have strides of their own."""
    part = NOISE[10:90, 20:120]
    expected = pillow(np.ascontiguousarray(part), (50, 60), 'bicubic')
    assert np.abs(resize(part, (50, 60)).astype(int) - expected).max() <= 1
    for thin in (NOISE[:1], NOISE[:, :1], NOISE[:1, :1]):
        found = resize(thin, (8, 8))
        expected = pillow(np.ascontiguousarray(thin), (8, 8), 'bicubic')
        assert np.abs(found.astype(int) - expected).max() <= 1


# --------------------------------------------------------------- weak crop


def test_edge_crop_is_resize_and_random_crop():
    """Same size and, where the edge goes evenly, the published pixels."""
    crop = EdgeCrop(75).draw(NOISE.shape)
    assert crop.size == (75, 75) and crop.part[2:] == (150, 150)
    whole = pillow(NOISE, (75, 100), 'bicubic')
    left = crop.part[1] // 2
    found = crop.cut(NOISE).astype(int)
    expected = whole[:, left : left + 75].astype(int)
    assert found.shape == (75, 75, 3)
    # beyond its edge the crop has no pixels, the whole image has
    assert np.abs(found - expected)[:, 4:-4].max() <= 1


def test_edge_crop_moves_by_less_than_a_pixel():
    """Cut at the nearest pixel of the image, of which one is less."""
    for _ in range(300):
        state = np.random.get_state()
        height, width = RNG.integers(64, 300, 2)
        crop = EdgeCrop(64).draw((height, width, 3))
        scale = min(height, width) / 64
        np.random.set_state(state)
        published = [
            np.random.randint(0, int(64 * side / min(height, width)) - 63)
            for side in (height, width)
        ]
        for start, length, side, drawn in zip(
            crop.part[:2],
            crop.part[2:],
            (height, width),
            published,
            strict=True,
        ):
            exact = side / int(64 * side / min(height, width))
            assert abs(start - drawn * exact) <= 0.5
            assert abs(length - 64 * exact) <= 0.5
            assert 0 <= start and start + length <= side
            assert length >= 64 and abs(exact - scale) <= scale / 64


def test_edge_crop_of_a_longer_edge():
    """Edge 184, crop 160: not the whole edge is kept."""
    tops = set()
    for _ in range(200):
        crop = EdgeCrop(160, edge=184).draw((256, 341, 3))
        assert crop.size == (160, 160)
        assert abs(crop.part[2] - 160 * 256 / 184) <= 0.5
        tops.add(crop.part[0])
    assert len(tops) > 15  # of 25


def test_small_images_are_enlarged_whole():
    """As published, to the pixel: their own are too coarse to cut along."""
    small = np.ascontiguousarray(NOISE[:40, :55])
    for _ in range(20):
        crop = EdgeCrop(64).draw(small.shape)
        assert crop.part == (0, 0, 40, 55) and crop.size == (64, 88)
        top, left, *sides = crop.window
        whole = pillow(small, (64, 88), 'bicubic').astype(int)
        expected = whole[top : top + 64, left : left + 64]
        assert sides == [64, 64]
        assert np.abs(crop.cut(small) - expected).max() <= 1


def test_an_image_of_the_right_size_stays_as_it_is():
    image = np.ascontiguousarray(NOISE[:32, :32])
    crop = EdgeCrop(32).draw(image.shape)
    np.testing.assert_array_equal(crop.cut(image), image)


@pytest.mark.parametrize('sides', [SIDES, SIDES[::-1]])
def test_position_of_the_weak_view(sides):
    """Where torchvision's crop of the resized image lies."""
    size, scale = 224, 300 / 224
    published = transforms.RandomCrop(size)
    resized = [int(size * side / 300) for side in sides]
    image = Image.new('L', resized[::-1])
    long = int(np.argmax(sides))
    ours = [
        EdgeCrop(size).draw((*sides, 3)).part[long] / scale
        for _ in range(DRAWS)
    ]
    theirs = [
        published.get_params(image, (size, size))[long] for _ in range(DRAWS)
    ]
    # whole pixels of the image: at most half of one away
    assert np.max(ours) <= max(theirs) + 1
    assert_same_distribution(np.round(ours), theirs)


# ------------------------------------------------------------- strong crop


@pytest.mark.parametrize('sides', [SIDES, (120, 480)])
def test_geometry_of_the_strong_view(sides):
    """Area, aspect and position are those of torchvision's crop."""
    image = Image.new('L', sides[::-1])
    theirs = np.array(
        [
            transforms.RandomResizedCrop.get_params(
                image, (0.3, 1.0), (3 / 4, 4 / 3)
            )
            for _ in range(DRAWS)
        ],
        float,
    )
    crop = AreaCrop(224, (0.3, 1.0))
    ours = np.array([crop.draw((*sides, 3)).part for _ in range(DRAWS)], float)
    for value in (
        lambda t: t[:, 2] * t[:, 3],
        lambda t: np.log(t[:, 3] / t[:, 2]),
        lambda t: t[:, 0],
        lambda t: t[:, 1],
        lambda t: t[:, 0] + t[:, 2] / 2,
        lambda t: t[:, 1] + t[:, 3] / 2,
    ):
        assert_same_distribution(value(ours), value(theirs))
    assert (ours[:, 0] + ours[:, 2]).max() <= sides[0]
    assert (ours[:, 1] + ours[:, 3]).max() <= sides[1]


def test_rate_of_flips():
    for rate in (0.0, 0.5, 1.0):
        crop = AreaCrop(32, flip=rate)
        flips = np.mean([crop.draw((40, 50)).mirrored for _ in range(DRAWS)])
        # five standard errors
        assert abs(flips - rate) <= 5 * np.sqrt(rate * (1 - rate) / DRAWS)


def test_a_mirrored_crop():
    part = dict(part=(10, 20, 64, 80), size=(32, 32), window=(0, 0, 32, 32))
    plain = Crop(**part).cut(NOISE)
    mirrored = Crop(**part, mirrored=True).cut(NOISE)
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    cut = np.ascontiguousarray(NOISE[10:74, 20:100])
    expected = pillow(cut, (32, 32), 'bicubic')
    assert np.abs(plain.astype(int) - expected).max() <= 1


# ------------------------------------------------------------ reduced scale


def test_shrinks():
    crop = Crop((0, 0, 96, 120), (32, 48), (0, 0, 32, 48))
    assert crop.shrinks(2.5) and not crop.shrinks(2.6)


@pytest.mark.parametrize('reduced', [2, 4, 8])
def test_crops_of_a_reduced_image(reduced):
    """The same part: a ramp keeps its colours, at even and odd edges."""
    height, width = 403, 397
    ramp = np.linspace(0, 250, width)[None].repeat(height, 0)
    small = ramp[
        : height // reduced * reduced, : width // reduced * reduced
    ].reshape(height // reduced, reduced, -1, reduced)
    small = small.mean(axis=(1, 3))
    ramp, small = (
        np.repeat(np.round(x)[..., None], 3, 2).astype(np.uint8)
        for x in (ramp, small)
    )
    for part in ((0, 0, height, width), (33, 51, 161, 257), (1, 7, 99, 101)):
        crop = Crop(part, (12, 12), (0, 0, 12, 12))
        difference = crop.cut(ramp).astype(int) - crop.cut(small, reduced)
        # an edge moves by up to half a reduced pixel
        assert np.abs(difference).max() <= 250 / width * reduced / 2 + 2


# ------------------------------------------------------------------ config


def test_registered_and_used_alone():
    for config in (
        dict(type='EdgeCrop', size=32, interpolation='bilinear'),
        dict(type='AreaCrop', size=32, share=(0.5, 1.0)),
    ):
        crop = TRANSFORMS.build(config)
        results = crop(dict(img=NOISE))
        assert results['img'].shape == (32, 32, 3)
        assert results['img_shape'] == (32, 32)
        assert config['type'] in repr(crop) and '32' in repr(crop)


@pytest.mark.parametrize(
    'make, key',
    [
        (lambda: EdgeCrop(0), 'EdgeCrop.size'),
        (lambda: EdgeCrop(224, 200), 'EdgeCrop.edge'),
        (lambda: EdgeCrop(224, interpolation='box'), 'EdgeCrop.interpolation'),
        (lambda: AreaCrop(1.5), 'AreaCrop.size'),
        (lambda: AreaCrop(32, (0, 1)), 'AreaCrop.share'),
        (lambda: AreaCrop(32, (1.0, 0.5)), 'AreaCrop.share'),
        (lambda: AreaCrop(32, [0.5]), 'AreaCrop.share'),
        (lambda: AreaCrop(32, flip=2), 'AreaCrop.flip'),
    ],
)
def test_errors_name_the_key(make, key):
    with pytest.raises(ValueError, match=key):
        make()
    with pytest.raises(TypeError, match='AreaCrop.share'):
        AreaCrop(32, 0.3)
