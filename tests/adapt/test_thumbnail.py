"""Images of any kind become small JPEGs."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from must_mm.adapt.thumbnail import SIDE, thumbnail

LEFT, RIGHT = (204, 51, 51), (51, 51, 204)  # in the web palette
ORIENTATION = 0x0112


def halves(size=(64, 32)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new('RGB', size, LEFT)
    image.paste(RIGHT, (size[0] // 2, 0, *size))
    return image


def embedded(path) -> Image.Image:
    """Read a thumbnail back."""
    head, data = thumbnail(path).split(',')
    assert head == 'data:image/jpeg;base64'
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(
    ('mode', 'suffix'),
    [('P', 'gif'), ('P', 'png'), ('RGBA', 'png'), ('CMYK', 'jpg')],
)
def test_colours_of_other_modes_survive(tmp_path, mode, suffix):
    path = tmp_path / f'image.{suffix}'
    halves().convert(mode).save(path)
    pixels = np.asarray(embedded(path)).astype(int)
    # JPEG moves a colour by a few of 255
    assert np.abs(pixels[8, 8] - LEFT).max() < 12
    assert np.abs(pixels[8, -8] - RIGHT).max() < 12


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'I;16'])
def test_grey_images_of_any_depth(tmp_path, mode):
    """The left half is black, the right one at three quarters or white."""
    high = {'1': 255, 'I;16': 0xC000}.get(mode, 0xC0)
    kind = {'I;16': np.uint16}
    values = np.zeros((32, 64), kind.get(mode, np.uint8))
    values[:, 32:] = high
    image = Image.fromarray(values)
    image = image if mode in kind else image.convert(mode)
    assert image.mode == mode
    path = tmp_path / 'image.tiff'
    image.save(path)
    pixels = np.asarray(embedded(path)).astype(int)
    assert pixels[8, 8].max() < 12
    assert np.abs(pixels[8, -8] - (255 if mode == '1' else 0xC0)).max() < 12


def test_transparent_becomes_white(tmp_path):
    path = tmp_path / 'clear.png'
    Image.new('RGBA', (32, 32), (9, 9, 9, 0)).save(path)
    assert min(embedded(path).getpixel((16, 16))) > 250


def test_an_animation_shows_its_first_frame(tmp_path):
    path = tmp_path / 'moving.gif'
    blue = Image.new('RGB', (32, 32), RIGHT)
    blue.save(path, save_all=True, append_images=[halves((32, 32))])
    pixels = np.asarray(embedded(path)).astype(int)
    assert np.abs(pixels - RIGHT).max() < 12


def test_a_rotated_photo_stands_and_its_metadata_stays_behind(tmp_path):
    path = tmp_path / 'photo.jpg'
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the camera was turned: up is on the left
    halves((800, 400)).save(path, exif=exif)
    before = path.read_bytes()
    small = embedded(path)
    assert small.size == (SIDE // 2, SIDE)
    pixels = np.asarray(small).astype(int)
    assert np.abs(pixels[8, 8] - LEFT).max() < 12
    assert np.abs(pixels[-8, 8] - RIGHT).max() < 12
    assert not small.getexif()
    assert path.read_bytes() == before


def test_small_images_are_not_enlarged(tmp_path):
    halves((8, 6)).save(tmp_path / 'tiny.png')
    assert embedded(tmp_path / 'tiny.png').size == (8, 6)


def test_an_image_that_is_gone_or_cut_off(tmp_path):
    assert thumbnail(tmp_path / 'gone.png') is None
    path = tmp_path / 'cut.png'
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    assert thumbnail(path) is None
