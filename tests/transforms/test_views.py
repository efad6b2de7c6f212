"""Both views from one decoding: like the published ones, no larger."""

import io

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from benchmarks.plain_views import PlainViews
from must_mm.datasets.seeding import EpochIndex
from must_mm.transforms.loading import EncodedImage, LoadImage, UnreadableImage
from must_mm.transforms.views import CropViews, planes
from must_mm.utils.paths import config_path
from tests.transforms.distributions import assert_same_mean

RNG = np.random.default_rng(0)
WEAK = [dict(type='EdgeCrop', size=48)]
STRONG = [dict(type='AreaCrop', size=48, share=(0.3, 1.0), flip=0.5)]


def photo(width: int, height: int) -> Image.Image:
    """Coarse colours and a little that is fine."""
    coarse = RNG.integers(30, 220, (9, 11, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((width, height), 3))
    noise = RNG.normal(0, 6, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=92, **options)
    return buffer.getvalue()


@pytest.fixture
def decodings(monkeypatch) -> list[int]:
    """The scales at which images are decoded."""
    scales, decode = [], EncodedImage.decode

    def counted(self, reduce: int = 1):
        scales.append(reduce)
        return decode(self, reduce)

    monkeypatch.setattr(EncodedImage, 'decode', counted)
    return scales


def load(path, lazy: bool = True) -> dict:
    return LoadImage(lazy=lazy)(dict(img_path=str(path)))


def write(path, width: int, height: int, **options):
    path.write_bytes(jpeg(photo(width, height), **options))
    return path


# ------------------------------------------------------ the published views


@pytest.fixture(scope='module')
def many_views(tmp_path_factory):
    """Ours and the published ones of one photograph, RGB, (n, 3, 224, 224).

    Larger than the views by less than what a reduced scale needs: what is
    compared are the views, not the decoders.
    """
    path = write(tmp_path_factory.mktemp('photo') / 'a.jpg', 400, 300)
    config = Config.fromfile(config_path('_base_/must_views.py'))
    ours, plain = Compose(config.train_pipeline), PlainViews()
    weak, strong = [[], []], [[], []]
    masks = [[], []]
    with Image.open(path) as file:
        image = file.convert('RGB')
    for index in range(240):
        sample = ours(dict(img_path=str(path), sample_idx=index))
        assert sample['inputs'][0].dtype == torch.uint8
        weak[0].append(sample['inputs'][0].numpy()[::-1])
        strong[0].append(sample['inputs'][1].numpy()[::-1])
        masks[0].append(sample['data_samples'].mask.numpy())
        for views, view in ((weak, plain.weak), (strong, plain.strong)):
            views[1].append(np.asarray(view(image)).transpose(2, 0, 1))
        masks[1].append(plain.mask())
    return weak, strong, masks


@pytest.mark.parametrize('view', [0, 1], ids=['weak', 'strong'])
def test_pixels_are_distributed_as_published(many_views, view):
    """Mean and variance of each colour, and how fine the detail is.

    Views of one photograph, so that images do not differ, only draws; each
    is one number, of which the standard error is taken.
    """
    ours, theirs = many_views[view]
    assert ours[0].shape == theirs[0].shape == (3, 224, 224)
    for channel in range(3):
        for value in (
            lambda image, c=channel: image[c].mean(),
            lambda image, c=channel: image[c].var(),
            lambda image, c=channel: image[c, :56].mean(),
            lambda image, c=channel: image[c, :, :56].mean(),
            lambda image, c=channel: np.abs(
                np.diff(image[c].astype(int), axis=1)
            ).mean(),
        ):
            assert_same_mean(
                [value(image) for image in ours],
                [value(image) for image in theirs],
            )


def test_masks_are_distributed_as_published(many_views):
    ours, theirs = map(np.array, many_views[2])
    assert ours.shape == theirs.shape == (240, 14, 14)
    assert set(ours.sum((1, 2))) == set(theirs.sum((1, 2))) == {60}
    rate, spread = 15 / 49, np.sqrt(15 / 49 * 34 / 49 / 240)
    assert np.abs(ours.mean(0) - rate).max() <= 5 * spread


# ------------------------------------------------------------ reduced scale


@pytest.mark.parametrize(
    'width, height, least, most',
    [
        (90, 70, 1, 1),  # less than 1.5 * 2 * 48
        (170, 144, 1, 2),  # the strong crop may be smaller than the weak one
        (640, 480, 2, 4),
        (1500, 1700, 8, 8),
    ],
)
def test_reduced_where_every_crop_allows(
    width, height, least, most, tmp_path, decodings
):
    path = write(tmp_path / 'a.jpg', width, height)
    views = CropViews([WEAK, STRONG])
    for _ in range(30):
        results = load(path)
        state = np.random.get_state()
        views(results)
        np.random.set_state(state)
        crops = views._draw((height, width, 3))
        reduced = decodings[-1]
        for crop in crops:
            for side, size in zip(crop.part[2:], crop.size, strict=True):
                assert reduced == 1 or side / reduced >= 1.5 * size
        # and no smaller than that forbids
        assert reduced == 8 or not all(
            side / (2 * reduced) >= 1.5 * size
            for crop in crops
            for side, size in zip(crop.part[2:], crop.size, strict=True)
        )
    assert least <= min(decodings) and max(decodings) <= most
    assert len(decodings) == 30  # one for both views


def test_close_to_full_decoding(tmp_path):
    """The same crops, up to half a pixel: same colours, same contrast."""
    path = write(tmp_path / 'a.jpg', 900, 700)
    views = CropViews([WEAK, STRONG])
    for seed in range(10):
        found = []
        for lazy in (True, False):
            np.random.seed(seed)
            found.append(torch.stack(views(load(path, lazy))['img']).float())
        lazy, whole = found
        assert (lazy - whole).abs().mean() < 4
        assert (lazy.mean((2, 3)) - whole.mean((2, 3))).abs().max() < 0.5
        ratio = lazy.std((2, 3)) / whole.std((2, 3))
        assert 0.98 < ratio.min() and ratio.max() < 1.02


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation(orientation, tmp_path):
    """A turned photograph: as if it had been turned before."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / 'a.jpg', 900, 400, exif=exif)
    views = CropViews([WEAK, STRONG])
    found = []
    for lazy in (True, False):
        np.random.seed(orientation)
        results = views(load(path, lazy))
        assert results['ori_shape'] == (
            (900, 400) if orientation > 4 else (400, 900)
        )
        found.append(torch.stack(results['img']).float())
    assert (found[0] - found[1]).abs().mean() < 4


def test_decoders_that_disagree_on_orientation(tmp_path, decodings):
    """What was decoded counts: the crops are drawn again."""
    path = write(tmp_path / 'a.jpg', 900, 400)
    results = load(path)
    results['img'].size = (900, 400)
    views = CropViews([WEAK, STRONG])(results)['img']
    assert [view.shape for view in views] == [(3, 48, 48)] * 2
    assert decodings[-1] == 1


def test_margin(tmp_path, decodings):
    path = write(tmp_path / 'a.jpg', 480, 480)
    for margin, expected in ((1, 8), (1.3, 4), (2.5, 4), (2.6, 2), (6, 1)):
        CropViews([WEAK], margin=margin)(load(path))
        assert decodings[-1] == expected
    with pytest.raises(ValueError, match='CropViews.margin'):
        CropViews([WEAK], margin=0.9)
    with pytest.raises(ValueError, match='CropViews.transforms'):
        CropViews([WEAK, []])


# ------------------------------------------------------------------- views


def test_images_that_are_arrays_already():
    """As data sets of arrays and MMPretrain's loader give them."""
    image = np.asarray(photo(64, 60))
    kept = image.copy()
    results = dict(img=image, gt_label=3)
    found = CropViews([WEAK, STRONG])(results)
    assert found['gt_label'] == 3 and len(found['img']) == 2
    assert all(view.shape == (3, 48, 48) for view in found['img'])
    np.testing.assert_array_equal(image, kept)
    assert results['img'] is image


def test_a_view_without_a_crop_sees_the_whole_image(tmp_path, decodings):
    path = write(tmp_path / 'a.jpg', 960, 960)
    squeezed = [dict(type='Resize', scale=(48, 48), backend='pillow')]
    views = CropViews([squeezed, STRONG])(load(path))['img']
    assert [view.shape for view in views] == [(3, 48, 48)] * 2
    assert decodings == [1]


def test_each_sample_its_own_draws(tmp_path):
    """By seed, epoch and index, whoever loads, lazily or not."""
    path = write(tmp_path / 'a.jpg', 100, 90)
    augmented = [*STRONG, dict(type='PublishedRandAugment')]

    def views(index, lazy=True):
        steps = Compose(
            [
                dict(type='LoadImage', lazy=lazy),
                dict(type='SeedSample'),
                dict(type='CropViews', transforms=[WEAK, augmented]),
            ]
        )
        return torch.stack(
            steps(dict(img_path=str(path), sample_idx=index))['img']
        )

    first = views(EpochIndex(3, 1, 7))
    np.random.rand(5)
    assert torch.equal(views(EpochIndex(3, 1, 7)), first)
    assert torch.equal(views(EpochIndex(3, 1, 7), lazy=False), first)
    for other in (EpochIndex(4, 1, 7), EpochIndex(3, 2, 7)):
        assert not torch.equal(views(other)[1], first[1])


def test_damaged_images_name_their_file(tmp_path):
    path = write(tmp_path / 'a.jpg', 200, 100)
    content = path.read_bytes()
    tables = slice(content.index(b'\xff\xdb'), content.index(b'\xff\xc0'))
    path.write_bytes(content.replace(content[tables], b''))
    results = load(path)
    with pytest.raises(UnreadableImage) as caught:
        CropViews([WEAK, STRONG])(results)
    assert caught.value.path == str(path)


def test_planes():
    image = np.asarray(photo(37, 23))
    for part in (image, image[3:20, 5:30], image[:, ::-1], image[::-1]):
        found = planes(part)
        assert found.is_contiguous()
        np.testing.assert_array_equal(found.numpy(), part.transpose(2, 0, 1))


def test_registered_and_printed():
    views = TRANSFORMS.build(
        dict(type='CropViews', transforms=[WEAK, STRONG], margin=2)
    )
    assert isinstance(views, CropViews)
    assert 'margin=2' in repr(views) and 'EdgeCrop(size=48' in repr(views)
