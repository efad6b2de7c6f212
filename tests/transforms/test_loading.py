"""Images of every kind are read right, or refused with the reason."""

import io
import os
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from must_mm.transforms import file_kinds
from must_mm.transforms.loading import (
    MAX_ASPECT,
    EncodedImage,
    LoadImage,
    UnreadableImage,
    look_at,
    read_image,
)

RNG = np.random.default_rng(0)
COARSE = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
PHOTO = Image.fromarray(COARSE).resize((80, 60), Image.BICUBIC)
RGB = np.asarray(PHOTO)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG's header that announces so many pixels, and one row of zeros."""

    def chunk(name: bytes, body: bytes) -> bytes:
        sum_ = struct.pack('>I', zlib.crc32(name + body))
        return struct.pack('>I', len(body)) + name + body + sum_

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(bytes(3 * width + 1)))
        + chunk(b'IEND', b'')
    )


def from_bgr(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., ::-1]


# ------------------------------------------------- as MMPretrain reads them

EXIF = Image.Exif()
EXIF[0x0112] = 6  # turned by 90 degrees
ORDINARY = {
    'photo.jpg': encode(PHOTO, 'JPEG', quality=90),
    'progressive.jpg': encode(PHOTO, 'JPEG', progressive=True),
    'grey.jpg': encode(PHOTO.convert('L'), 'JPEG'),
    'turned.jpg': encode(PHOTO, 'JPEG', exif=EXIF),
    'photo.png': encode(PHOTO, 'PNG'),
    'turned.png': encode(PHOTO, 'PNG', exif=EXIF),
    'grey.png': encode(PHOTO.convert('L'), 'PNG'),
    'bilevel.png': encode(PHOTO.convert('1'), 'PNG'),
    'palette.png': encode(PHOTO.convert('P'), 'PNG'),
    'photo.bmp': encode(PHOTO, 'BMP'),
    'photo.webp': encode(PHOTO, 'WEBP', lossless=True),
    'grey16.png': encode(
        Image.fromarray(RGB[..., 0].astype(np.uint16) * 257), 'PNG'
    ),
    'colour16.png': cv2.imencode('.png', RGB.astype(np.uint16) * 257)[
        1
    ].tobytes(),
    'png_named.jpg': encode(PHOTO, 'PNG'),
}


@pytest.mark.onedl
@pytest.mark.parametrize('name', ORDINARY)
def test_same_pixels_as_mmpretrain(name, tmp_path):
    """Bit for bit: a recipe's numbers do not depend on who reads."""
    path = tmp_path / name
    path.write_bytes(ORDINARY[name])
    expected = LoadImageFromFile()(dict(img_path=str(path)))
    found = LoadImage()(dict(img_path=str(path)))
    assert found['img'].dtype == np.uint8
    assert found['img'].flags.c_contiguous
    np.testing.assert_array_equal(found['img'], expected['img'])
    for shape in ('img_shape', 'ori_shape'):
        assert found[shape] == expected[shape]


def test_shortcut_for_jpeg_changes_no_pixel(monkeypatch):
    """OpenCV's decoder and Pillow's agree on photographs."""
    fast = read_image(ORDINARY['photo.jpg'])
    monkeypatch.setattr(
        'must_mm.transforms.loading._decode_jpeg', lambda content: None
    )
    slow = read_image(ORDINARY['photo.jpg'])
    # decoders of the same family may round differently
    assert np.abs(fast.astype(int) - slow).max() <= 2


# --------------------------------------------------------------- all kinds


def test_cmyk():
    """Back to what it was, but for the loss of JPEG and the conversion."""
    found = read_image(encode(PHOTO.convert('CMYK'), 'JPEG', quality=98))
    assert np.abs(from_bgr(found).astype(int) - RGB).mean() < 4


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.arange(0, 65536, 256, dtype=np.uint16)[None].repeat(4, axis=0)
    for kind in ('PNG', 'TIFF'):
        found = read_image(encode(Image.fromarray(ramp), kind))
        assert found.shape == (4, 256, 3)
        np.testing.assert_array_equal(found[0, :, 0], np.arange(256))


@pytest.mark.parametrize('kind', ['GIF', 'PNG', 'WEBP'])
def test_first_frame_of_an_animation(kind):
    negative = Image.fromarray(255 - RGB)
    options = dict(lossless=True) if kind == 'WEBP' else {}
    content = encode(
        PHOTO, kind, save_all=True, append_images=[negative], **options
    )
    found = from_bgr(read_image(content)).astype(int)
    # GIF has 256 colours
    assert np.abs(found - RGB).mean() < (10 if kind == 'GIF' else 1e-9)


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P'])
def test_transparent_pixels_lie_on_white(mode):
    """The left half transparent, over black; the right half as it is."""
    alpha = np.full((60, 80), 255, np.uint8)
    alpha[:, :40] = 0
    colours = RGB.copy()
    colours[:, :40] = 0
    image = Image.fromarray(np.dstack([colours, alpha]))
    if mode == 'P':
        image = Image.fromarray((alpha // 255), 'P')
        image.putpalette([0, 0, 0, 10, 20, 30])
        content = encode(image, 'PNG', transparency=0)
        right = np.broadcast_to([10, 20, 30], (60, 40, 3))
    else:
        content = encode(image.convert(mode), 'PNG')
        right = RGB if mode == 'RGBA' else PHOTO.convert('L').convert('RGB')
        right = np.asarray(right)[:, 40:]
    found = from_bgr(read_image(content))
    assert (found[:, :40] == 255).all()
    np.testing.assert_array_equal(found[:, 40:], right)


def test_orientation_is_applied_once():
    for kind in ('JPEG', 'PNG', 'WEBP', 'TIFF'):
        found = read_image(encode(PHOTO, kind, exif=EXIF))
        assert found.shape == (80, 60, 3), kind
        turned = np.rot90(RGB, k=-1).astype(int)
        assert np.abs(from_bgr(found) - turned).mean() < 4, kind


# ---------------------------------------------------------------- refused

BAD = {
    'empty.jpg': (b'', 'the file is empty'),
    'text.jpg': (b'not an image\n' * 50, 'no known image format'),
    'postscript.jpg': (encode(PHOTO, 'EPS'), 'no known image format'),
    'half.jpg': (ORDINARY['photo.jpg'][:900], 'truncated'),
    'half.png': (ORDINARY['photo.png'][:900], 'truncated'),
    'half.webp': (ORDINARY['photo.webp'][:900], ''),
    'header.png': (ORDINARY['photo.png'][:20], ''),
    'bomb.png': (png_of_size(30000, 30000), 'decompression bomb'),
    'line.png': (
        png_of_size(MAX_ASPECT + 1, 1),
        f'{MAX_ASPECT + 1} x 1 pixels',
    ),
    'float.tiff': (encode(PHOTO.convert('F'), 'TIFF'), '32 bits'),
}


@pytest.mark.parametrize('name', BAD)
def test_refused_with_file_and_reason(name, tmp_path):
    content, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    for read in (
        lambda: read_image(path),
        lambda: LoadImage()(dict(img_path=str(path))),
    ):
        with pytest.raises(UnreadableImage) as caught:
            read()
        assert caught.value.path == str(path)
        assert caught.value.reason and reason in caught.value.reason
        assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_sound_headers_of_that_kind_are_read():
    """The refused PNGs are refused for their size alone."""
    assert read_image(png_of_size(MAX_ASPECT, 1)).shape == (1, MAX_ASPECT, 3)


def test_missing_file_and_folder(tmp_path):
    for path, reason in (
        (tmp_path / 'gone.jpg', 'no such file'),
        (tmp_path, 'directory'),
    ):
        for read in (
            lambda path=path: read_image(path),
            lambda path=path: LoadImage()(dict(img_path=str(path))),
        ):
            with pytest.raises(UnreadableImage, match=reason):
                read()


def test_damaged_bytes_never_raise_anything_else():
    """Flipped bits and cut ends of every kind of file, 600 of them."""
    rng = np.random.default_rng(1)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for content in ORDINARY.values():
            for _ in range(600 // len(ORDINARY)):
                damaged = bytearray(content)
                for at in rng.integers(0, len(content), 8):
                    damaged[at] ^= 1 << rng.integers(8)
                end = rng.integers(1, len(content) + 1)
                try:
                    pixels = read_image(bytes(damaged[:end]))
                except UnreadableImage:
                    refused += 1
                else:
                    assert pixels.dtype == np.uint8 and pixels.ndim == 3
    assert refused > 300


def test_lack_of_memory_is_no_fault_of_the_image(monkeypatch):
    def full(content):
        raise MemoryError

    monkeypatch.setattr('must_mm.transforms.loading._decode', full)
    with pytest.raises(MemoryError):
        read_image(ORDINARY['photo.png'])


def test_registered_and_loaded_images_pass():
    load = TRANSFORMS.build(dict(type='LoadImage'))
    assert isinstance(load, LoadImage)
    results = dict(img=RGB)
    assert load(results)['img'] is RGB


# ---------------------------------------------------------------- encoded


def lazily(path) -> dict:
    return LoadImage(lazy=True)(dict(img_path=str(path)))


@pytest.mark.parametrize('name', ORDINARY)
def test_lazy_loading_promises_what_decoding_gives(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(ORDINARY[name])
    expected = LoadImage()(dict(img_path=str(path)))
    found = lazily(path)
    image = found['img']
    is_jpeg = name.endswith('.jpg') and 'png' not in name
    assert isinstance(image, EncodedImage) == is_jpeg
    for shape in ('img_shape', 'ori_shape'):
        assert found[shape] == expected[shape]
    if is_jpeg:
        assert image.size == expected['img_shape']
        image = image.decode()
    np.testing.assert_array_equal(image, expected['img'])


@pytest.mark.parametrize('reduce', [2, 4, 8])
def test_decoding_at_a_reduced_scale(reduce):
    """Upright, sides rounded up, the colours averaged."""
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for size in ((160, 120), (161, 119)):
            content = encode(PHOTO.resize(size, 3), 'JPEG', exif=exif)
            image = EncodedImage.from_content('a.jpg', content)
            whole, small = image.decode(), image.decode(reduce)
            assert whole.shape == (*image.size, 3)
            sides = [-(-side // reduce) for side in image.size]
            assert [*small.shape[:2]] == sides
            if size == (160, 120):
                area = cv2.INTER_AREA
                mean = cv2.resize(whole, sides[::-1], interpolation=area)
                assert np.abs(small.astype(int) - mean).mean() < 2


@pytest.mark.parametrize('name', BAD)
def test_lazily_refused_at_the_latest_when_decoded(name, tmp_path):
    content, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableImage) as caught:
        image = lazily(path)['img']
        assert isinstance(image, EncodedImage)
        image.decode()
    assert caught.value.path == str(path) and reason in caught.value.reason


def test_damage_behind_a_sound_header_names_the_file():
    content = ORDINARY['photo.jpg']
    first = content.index(b'\xff\xdb')  # the tables of quantisation
    last = content.index(b'\xff\xc0')
    damaged = content[:first] + content[last:]
    image = EncodedImage.from_content('photos/a.jpg', damaged)
    for reduce in (1, 2):
        with pytest.raises(UnreadableImage) as caught:
            image.decode(reduce)
        assert caught.value.path == 'photos/a.jpg' and caught.value.reason


def test_damaged_orientation_counts_as_upright():
    damaged = encode(PHOTO, 'JPEG', exif=b'Exif\0\0II*\0\xff\xff\xff\xff')
    image = EncodedImage.from_content('a.jpg', damaged)
    assert image.size == (60, 80) == image.decode().shape[:2]


@pytest.mark.parametrize(
    'step',
    [
        dict(type='ResizeEdge', scale=32),
        dict(type='ResizeEdge', scale=32, backend='pillow'),
        dict(
            type='MultiView',
            num_views=1,
            transforms=[dict(type='EdgeCrop', size=32)],
        ),
        dict(type='ColorJitter', brightness=0.4),
    ],
    ids=lambda step: step['type'],
)
def test_what_needs_pixels_says_that_none_are_decoded(step, tmp_path):
    path = tmp_path / 'photo.jpg'
    path.write_bytes(ORDINARY['photo.jpg'])
    init_default_scope('mmpretrain')
    steps = Compose([dict(type='LoadImage', lazy=True), step])
    with pytest.raises(AttributeError, match='leave lazy=True of'):
        steps(dict(img_path=str(path)))


# ------------------------------------------------ files as people have them


def chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack('>I', zlib.crc32(kind + data))
    return struct.pack('>I', len(data)) + kind + data + check


def with_chunk(part: bytes) -> bytes:
    png = ORDINARY['photo.png']
    return png[:33] + part + png[33:]


LARGE_TEXT = chunk(b'zTXt', b'workflow\0\0' + zlib.compress(bytes(2**21)))
MENDED = {
    'text of 2 MiB': with_chunk(LARGE_TEXT),
    'profile of 2 MiB': with_chunk(
        chunk(b'iCCP', b'big\0\0' + zlib.compress(bytes(2**21)))
    ),
    'damaged text': with_chunk(chunk(b'tEXt', b'k\0v')[:-4] + b'\0\0\0\0'),
}


@pytest.mark.parametrize('kind', MENDED)
def test_png_with_damaged_or_large_extras(kind, tmp_path):
    """As image generators leave their workflow, for one."""
    path = tmp_path / 'x.png'
    path.write_bytes(MENDED[kind])
    expected = read_image(ORDINARY['photo.png'])
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(lazily(path)['img'], expected)


def test_extras_that_count_stay():
    turned = ORDINARY['turned.png']
    large = turned[:33] + LARGE_TEXT + turned[33:]
    np.testing.assert_array_equal(read_image(large), read_image(turned))
    # and what is missing of the pixels is missing
    with pytest.raises(UnreadableImage, match='truncated'):
        read_image(large[:-300])


@pytest.mark.parametrize('name', ['photo.jpg', 'grey.jpg', 'turned.jpg'])
@pytest.mark.parametrize('cut', [1, 2])
def test_jpeg_without_its_end_marker(name, cut, tmp_path):
    content = ORDINARY[name]
    assert content.endswith(b'\xff\xd9')
    path = tmp_path / name
    path.write_bytes(content[:-cut])
    expected = read_image(content)
    for found in (read_image(path), lazily(path)['img']):
        # two decoders
        assert np.abs(found.astype(int) - expected).max() <= 4


@pytest.mark.parametrize('name', ['photo.jpg', 'grey.jpg', 'progressive.jpg'])
@pytest.mark.parametrize('share', [0.5, 0.9, 0.98])
def test_jpeg_that_lacks_more_is_refused(name, share):
    content = ORDINARY[name]
    with pytest.raises(UnreadableImage, match='truncated'):
        read_image(content[: int(share * len(content))])


def tiff(bands: int, bits: int) -> bytes:
    """A TIFF as satellites have it, uncompressed."""
    kind = np.uint8 if bits == 8 else np.uint16
    data = np.zeros((8, 8, bands), kind).tobytes()
    tags = [
        (256, 4, 1, 8),
        (257, 4, 1, 8),
        (258, 3, bands, 8 + len(data)),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, bands),
        (278, 4, 1, 8),
        (279, 4, 1, len(data)),
    ]
    data += struct.pack(f'<{bands}H', *[bits] * bands)
    data += b'\0' * (len(data) % 2)
    body = struct.pack('<H', len(tags))
    for tag, form, count, value in tags:
        if tag == 258 and bands <= 2:
            packed = struct.pack(f'<{bands}H', *[bits] * bands)
            body += struct.pack('<HHI', tag, form, count) + packed.ljust(4)
        else:
            body += struct.pack('<HHII', tag, form, count, value)
    header = b'II*\0' + struct.pack('<I', 8 + len(data))
    return header + data + body + b'\0' * 4


@pytest.mark.parametrize(('bands', 'bits'), [(13, 16), (4, 8), (5, 16)])
def test_tiff_of_many_bands_says_how_many(bands, bits):
    with pytest.raises(
        UnreadableImage, match=f'a TIFF of {bands} bands of {bits} bits'
    ):
        read_image(tiff(bands, bits))


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'SVG'),
        (b'<!DOCTYPE html><html></html>', 'a web page'),
    ],
)
def test_what_else_is_called_an_image(content, reason):
    with pytest.raises(UnreadableImage, match=reason):
        read_image(content)


HEIC = struct.pack('>I', 24) + b'ftypheic\0\0\0\0mif1heic' + b'\0' * 400


@pytest.mark.parametrize('name', ['a.heic', 'a.jpg'])
def test_heic_is_named_whatever_its_suffix(name, tmp_path, monkeypatch):
    path = tmp_path / name
    path.write_bytes(HEIC)
    monkeypatch.setattr(file_kinds, 'reads_heif', lambda: False)
    with pytest.raises(UnreadableImage, match=r'HEIC.*must_mm\[heif\]'):
        read_image(path)


def test_heic_is_read_with_its_package(tmp_path):
    pillow_heif = pytest.importorskip('pillow_heif')
    path = tmp_path / 'a.jpg'
    pillow_heif.from_pillow(PHOTO).save(path, quality=95)
    found = read_image(path)
    assert found.shape == RGB.shape
    assert np.abs(from_bgr(found).astype(int) - RGB).mean() < 4
    # damaged, it is damaged
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UnreadableImage):
        read_image(path)


def test_a_jpeg_named_heic_is_a_jpeg(tmp_path):
    path = tmp_path / 'a.heic'
    path.write_bytes(ORDINARY['photo.jpg'])
    expected = read_image(ORDINARY['photo.jpg'])
    np.testing.assert_array_equal(read_image(path), expected)


def test_a_pipe_does_not_hang(tmp_path):
    path = tmp_path / 'a.jpg'
    os.mkfifo(path)
    for read in (read_image, lazily):
        with pytest.raises(UnreadableImage, match='no regular file'):
            read(path)


@pytest.mark.parametrize('name', ORDINARY)
def test_looks_alike_to_mmpretrain(name):
    alike, largest = look_at(ORDINARY[name])
    assert alike
    assert (largest is not None) == ('16' in name)


def test_what_looks_different_to_mmpretrain():
    rgba = PHOTO.copy()
    rgba.putalpha(PHOTO.convert('L'))
    for content in (
        encode(rgba, 'PNG'),
        encode(PHOTO, 'AVIF', exif=EXIF, quality=95),
        encode(PHOTO.convert('CMYK'), 'JPEG'),
    ):
        assert look_at(content)[0] is False


@pytest.mark.parametrize('suffix', ['png', 'tif'])
@pytest.mark.parametrize('colour', [False, True])
def test_the_largest_value_of_16_bits(suffix, colour):
    pixels = RGB if colour else RGB[..., 0]
    twelve = pixels.astype(np.uint16) * 16
    content = cv2.imencode(f'.{suffix}', twelve)[1].tobytes()
    largest = look_at(content)[1]
    assert largest // 256 == int(twelve.max()) // 256
