"""Every kind of file comes to what one sees; damaged ones say why."""

import io

import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from must_mm.loading import read_image

RED, WHITE = (255, 0, 0), (255, 255, 255)


def two_halves(size=(8, 4)) -> Image.Image:
    """Red on the left, white on the right."""
    image = Image.new('RGB', size, WHITE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    return image


def seen(path) -> list[tuple]:
    """Colours at the left and the right."""
    image = read_image(path)
    assert image.mode == 'RGB'
    middle = image.height // 2
    return [image.getpixel((x, middle)) for x in (0, image.width - 1)]


def gradient(dtype, high: int) -> np.ndarray:
    return np.linspace(0, high, 256).round().astype(dtype).reshape(16, 16)


@pytest.mark.parametrize('mode', ['RGB', 'P', 'RGBA'])
def test_colours(tmp_path, mode):
    path = tmp_path / 'x.png'
    two_halves().convert(mode).save(path)
    assert seen(path) == [RED, WHITE]


def test_cmyk(tmp_path):
    """A JPEG of one block a half; no profile, so red is near to red."""
    path = tmp_path / 'x.jpg'
    two_halves((32, 16)).convert('CMYK').save(path, quality=95)
    with Image.open(path) as image:
        assert image.mode == 'CMYK'
    for found, wanted in zip(seen(path), (RED, WHITE), strict=True):
        assert np.abs(np.subtract(found, wanted)).max() <= 8  # lossy


@pytest.mark.parametrize('mode', ['L', '1', 'LA'])
def test_grey(tmp_path, mode):
    path = tmp_path / 'x.png'
    two_halves().convert('L').point(lambda v: 255 * (v > 99)).convert(
        mode
    ).save(path)
    assert seen(path) == [(0, 0, 0), WHITE]


def test_16_bits_are_scaled_not_clipped(tmp_path):
    path = tmp_path / 'x.png'
    Image.fromarray(gradient(np.uint16, 65535)).save(path)
    found = np.asarray(read_image(path))[..., 0]
    # 65535 / 255 = 257 steps of 16 bits are one of 8
    assert np.array_equal(found, gradient(np.uint8, 255))


@pytest.mark.parametrize('dtype', [np.int32, np.float32])
def test_32_bits_span_the_range(tmp_path, dtype):
    path = tmp_path / 'x.tif'
    Image.fromarray(gradient(dtype, 100_000) - 50).save(path)
    found = np.asarray(read_image(path))[..., 0]
    assert found.min() == 0 and found.max() == 255
    assert (np.diff(found.ravel().astype(int)) >= 0).all()


@pytest.mark.parametrize('mode', ['RGBA', 'P', 'LA'])
def test_transparency_is_white(tmp_path, mode):
    """What lies below a transparent pixel is not seen."""
    path = tmp_path / 'x.png'
    if mode == 'P':
        image = two_halves().convert('P', palette=Image.Palette.ADAPTIVE)
        red = image.getpixel((0, 0))
        image.save(path, transparency=red)
    else:
        image = two_halves().convert(mode)
        alpha = Image.new('L', image.size, 255)
        alpha.paste(0, (0, 0, 4, 4))
        image.putalpha(alpha)
        image.save(path)
    assert seen(path) == [WHITE, WHITE]


@pytest.mark.parametrize('suffix', ['gif', 'webp', 'png'])
def test_first_frame_of_an_animation(tmp_path, suffix):
    path = tmp_path / f'x.{suffix}'
    frames = [Image.new('RGB', (8, 8), c) for c in (RED, WHITE)]
    lossless = dict(lossless=True) if suffix == 'webp' else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
    assert seen(path) == [RED, RED]


def test_turned_upright(tmp_path):
    """Orientation 6: the camera was turned, the right side is the bottom."""
    path = tmp_path / 'x.png'
    exif = Image.Exif()
    exif[0x0112] = 6
    two_halves((8, 4)).save(path, exif=exif)
    image = read_image(path)
    assert image.size == (4, 8)
    assert image.getpixel((1, 0)) == RED
    assert image.getpixel((1, 7)) == WHITE


def damage(path, kind: str) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, path.suffix[1:].replace('jpg', 'jpeg'))
    content = dict(
        empty=b'',
        text=b'no image',
        truncated=buffer.getvalue()[: len(buffer.getvalue()) // 2],
        postscript=b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n',
    )
    path.write_bytes(content[kind])


@pytest.mark.parametrize(
    ('name', 'kind', 'reason'),
    [
        ('x.png', 'empty', 'the file is empty'),
        ('x.jpg', 'text', 'no image of a known format'),
        ('x.jpg', 'truncated', 'truncated'),
        ('x.png', 'truncated', 'truncated'),
        # Pillow would start another program for it
        ('x.jpg', 'postscript', 'no image of a known format'),
    ],
)
def test_damaged_files(tmp_path, name, kind, reason):
    path = tmp_path / name
    damage(path, kind)
    with pytest.raises(ValueError, match=f'{path}.*{reason}'):
        read_image(path)


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('side', [12, 20])  # Pillow warns, Pillow refuses
def test_more_pixels_than_the_limit(tmp_path, monkeypatch, side):
    path = tmp_path / 'x.png'
    Image.new('L', (side, side)).save(path)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(ValueError, match='limit'):
        read_image(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match='gone.png'):
        read_image(tmp_path / 'gone.png')


def test_the_transform_gives_bgr(tmp_path):
    path = tmp_path / 'x.png'
    two_halves().save(path)
    load = TRANSFORMS.build(dict(type='LoadPhoto'))
    found = load(dict(img_path=str(path)))
    assert found['img'].shape == (4, 8, 3)
    assert found['img_shape'] == found['ori_shape'] == (4, 8)
    assert tuple(found['img'][0, 0]) == RED[::-1]
