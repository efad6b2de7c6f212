"""Read images of every kind, or say why one cannot be read."""

import io
import os
import stat
import zlib
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageOps

from .file_kinds import explain, is_heic, reads_heif

#: Longest side over shortest. A one-pixel line would grow to gigabytes when
#: its shorter side is resized to that of the model.
MAX_ASPECT = 100

Image.init()
#: Formats of pixels. Pillow knows more; PostScript, for one, is a program,
#: and it starts another to run it.
FORMATS = [
    name
    # the likeliest first: Pillow asks one after the other
    for name in (
        'JPEG',
        'AVIF',
        'BMP',
        'DIB',
        'GIF',
        'JPEG2000',
        'PNG',
        'PPM',
        'TIFF',
        'WEBP',
    )
    if name in Image.OPEN
]


class UnreadableImage(ValueError):
    """An image that cannot be read; its file's name and why.

    Attributes:
        path: The file.
        reason: Why it cannot be read.
    """

    def __init__(self, path: str, reason: str = '') -> None:
        super().__init__(f'{path}: {reason}' if reason else path)
        self.path = path
        self.reason = reason


def read_image(source: str | Path | bytes) -> np.ndarray:
    """Read an image as colours of eight bits, upright.

    The content counts, not the file's extension. Of an animation, the first
    frame is read; channels of 16 bits keep their high byte; what is
    transparent lies on white; EXIF's orientation is applied. HEIC is read
    where the package ``pillow-heif`` is installed. A JPEG may lack its end
    marker, and a PNG have texts or profiles of any size or damaged ones.

    Args:
        source: A file, or the content of one.

    Returns:
        BGR, uint8, (H, W, 3).

    Raises:
        UnreadableImage: If the file is missing, truncated or no image, has
            pixels of 32 bits or other channels than Pillow knows, is larger
            than Pillow's limit against decompression bombs, or longer than
            :data:`MAX_ASPECT` times its width.
    """
    name = '<bytes>' if isinstance(source, bytes) else str(source)
    try:
        content = (
            source if isinstance(source, bytes) else _read_file(Path(source))
        )
    except OSError as error:
        raise UnreadableImage(name, _reason(error)) from error
    try:
        return _decode(content)
    except MemoryError:
        raise  # the machine's trouble, not the image's
    except Exception as error:  # damaged bytes make decoders raise anything
        reason = explain(content) or _reason(error)
        raise UnreadableImage(name, reason) from error


def _read_file(path: Path) -> bytes:
    """Read a file, but wait for no pipe.

    Raises:
        OSError: If it is missing, or no regular file.
    """
    check_regular(path)
    return path.read_bytes()


def check_regular(path: str | Path) -> None:
    """Refuse a pipe, a socket or a device, which one could wait for.

    Raises:
        OSError: If it is missing, or no regular file.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError('it is no regular file')


def look_at(content: bytes) -> tuple[bool, int | None]:
    """Decode an image, and tell what of it others see differently.

    Args:
        content: Of its file.

    Returns:
        Whether MMPretrain's own loader (OpenCV) sees the same pixels; and the
        largest value of an image of 16 bits, ``None`` for others.

    Raises:
        UnreadableImage: See :func:`read_image`.
    """
    pixels = read_image(content)
    try:
        with _open(content) as image:
            # these are OpenCV's pixels
            if _is_plain_jpeg(image) and _ends_as_jpeg(content):
                return True, None
            largest = None
            if image.mode.startswith('I;16') or image.mode == 'I':
                largest = int(np.asarray(image).max())
            elif _has_16_bits(image, content):  # Pillow keeps the high bytes
                largest = int(pixels.max()) * 256 + 255
    except Exception:  # of an image that was mended
        largest = None
    try:
        theirs = cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR
        )
    except cv2.error:  # larger than it allows
        theirs = None
    return theirs is not None and np.array_equal(theirs, pixels), largest


def _has_16_bits(image: Image.Image, content: bytes) -> bool:
    if image.format == 'PNG':
        return content[24:25] == b'\x10'
    return image.format == 'TIFF' and 16 in image.tag_v2.get(258, ())


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return 'there is no such file'
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, Image.UnidentifiedImageError):
        return 'no known image format'
    return str(error) or type(error).__name__


def _open(content: bytes) -> Image.Image:
    """Read the header alone, and refuse what its size forbids."""
    if not content:
        raise ValueError('the file is empty')
    formats = FORMATS
    if is_heic(content) and reads_heif():
        formats = [*FORMATS, 'HEIF']
    image = Image.open(io.BytesIO(content), formats=formats)
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise ValueError(
            f'{image.width} x {image.height} pixels: one side is more '
            f'than {MAX_ASPECT} times the other'
        )
    return image


def _is_plain_jpeg(image: Image.Image) -> bool:
    return image.format == 'JPEG' and image.mode in ('RGB', 'L')


def _decode(content: bytes) -> np.ndarray:
    try:
        return _decode_strictly(content)
    except MemoryError:
        raise
    except Exception:
        # looked at only now: most files are as they should be
        mended = _without_extras(content) or _with_end(content)
        if mended is None:
            raise
        return _decode_strictly(mended)


def _without_extras(content: bytes) -> bytes | None:
    """A PNG without what is no pixel: texts, profiles, times.

    Pillow refuses texts and profiles of more than 1 MiB, and damaged ones.
    Orientation (``eXIf``) stays. ``None`` if there is nothing to leave out.
    """
    if not content.startswith(_PNG):
        return None
    parts, at = [_PNG], len(_PNG)
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], 'big')
        kind, end = content[at + 4 : at + 8], at + 12 + length
        part = content[at:end]
        whole = zlib.crc32(part[4:-4]) == int.from_bytes(part[-4:], 'big')
        # a small first letter marks what a reader may leave out
        if kind[:1].isupper() or (kind in _PNG_KEPT and whole):
            parts.append(part)
        at = end
    mended = b''.join(parts)
    return mended if len(mended) < len(content) else None


_PNG = b'\x89PNG\r\n\x1a\n'
_PNG_KEPT = (b'tRNS', b'eXIf', b'gAMA', b'sRGB')


def _with_end(content: bytes) -> bytes | None:
    """A JPEG whose end marker alone is missing, with it; else ``None``.

    What a decoder lacks it takes from what follows. So nothing was lacking
    if the pixels do not depend on what follows.
    """
    if not content.startswith(b'\xff\xd8') or _ends_as_jpeg(content):
        return None
    ended = content.rstrip(b'\xff') + b'\xff\xd9'
    other = content.rstrip(b'\xff') + bytes(range(200)) + b'\xff\xd9'
    try:
        with _open(ended) as one, _open(other) as two:
            same = np.array_equal(np.asarray(one), np.asarray(two))
    except Exception:  # more is missing
        return None
    return ended if same else None


def _decode_strictly(content: bytes) -> np.ndarray:
    with _open(content) as image:
        if _is_plain_jpeg(image):
            pixels = _decode_jpeg(content)
            if pixels is not None:
                return pixels
        rgb = _to_rgb(ImageOps.exif_transpose(image))
    return np.ascontiguousarray(rgb[..., ::-1])


def _decode_jpeg(content: bytes) -> np.ndarray | None:
    """Decode by OpenCV: the same pixels, in half the time.

    It may fill what is missing of a truncated file with grey, so only files
    that end as JPEGs do are for it.
    """
    if not _ends_as_jpeg(content):
        return None
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def _ends_as_jpeg(content: bytes) -> bool:
    return content.rstrip(b'\0').endswith(b'\xff\xd9')


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Convert a Pillow image of any mode to RGB, uint8, (H, W, 3)."""
    # 'I' has 32 bits; Pillow uses 16 of them for these formats
    if image.mode.startswith('I;16') or (
        image.mode == 'I' and image.format in ('PNG', 'PPM')
    ):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ('I', 'F'):
        values = np.asarray(image)
        raise ValueError(
            f'pixels of 32 bits have no known range (here {values.min():g} to '
            f'{values.max():g}): convert the image to 8 or 16 bits'
        )
    if image.has_transparency_data:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert('RGB'))


class EncodedImage:
    """A JPEG whose header is read and whose pixels are not.

    Who takes it knows its size, and can decode it at a fraction of that.

    Args:
        path: The file, for errors.
        content: What is in it.
        size: Height and width, upright.

    Attributes:
        size: Height and width of the decoded image.
    """

    REDUCED = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }

    def __init__(
        self, path: str, content: bytes, size: tuple[int, int]
    ) -> None:
        self.path = path
        self.content = content
        self.size = size

    def __getattr__(self, name: str):
        raise AttributeError(
            f'an image that is not decoded yet has no {name!r}: put '
            "dict(type='CropViews', ...) before whatever needs its pixels, or "
            "leave lazy=True of dict(type='LoadImage') out"
        )

    @classmethod
    def from_content(cls, path: str, content: bytes) -> 'EncodedImage | None':
        """Read the header; ``None`` if there is more to it than to a photo."""
        try:
            with _open(content) as image:
                if not (_is_plain_jpeg(image) and _ends_as_jpeg(content)):
                    return None
                width, height = image.size
                if _orientation(image) > 4:  # turned by 90 degrees
                    width, height = height, width
        except MemoryError:
            raise
        except Exception:  # of an image to be mended or refused
            return None
        return cls(path, content, (height, width))

    def decode(self, reduce: int = 1) -> np.ndarray:
        """Decode, upright.

        Args:
            reduce: 1, 2, 4 or 8: each side becomes that many times shorter,
                rounded up, by the decoder's own averaging.

        Returns:
            BGR, uint8, (H, W, 3). Where OpenCV and Pillow understand the
            file differently, its size may be another than announced.

        Raises:
            UnreadableImage: If the content is damaged.
        """
        pixels = cv2.imdecode(
            np.frombuffer(self.content, np.uint8), self.REDUCED[reduce]
        )
        if pixels is not None:
            return pixels
        try:
            return read_image(self.content)
        except UnreadableImage as error:
            raise UnreadableImage(self.path, error.reason) from error


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1, which is upright, if it is damaged."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # of a sound image
        return 1


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Loads the image of ``img_path`` with :func:`read_image`.

    Where MMPretrain's ``LoadImageFromFile`` reads a photograph, the pixels
    are the same. An image that is loaded already, as by MMPretrain's
    inferencers, passes unchanged.

    Args:
        lazy: Leave a JPEG to :class:`CropViews` as an :class:`EncodedImage`,
            which is decoded no larger than its crops need.
        backend_args: Where ``img_path`` is not a local file: arguments of
            MMEngine's file backend.
    """

    def __init__(
        self, lazy: bool = False, backend_args: dict | None = None
    ) -> None:
        self.lazy = lazy
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add ``img``, BGR, uint8, (H, W, 3), and its shape (H, W).

        Raises:
            UnreadableImage: With the file's name and why.
        """
        if 'img' in results:
            return results
        path = results['img_path']
        try:
            if self.backend_args is None and '://' not in str(path):
                check_regular(path)
            content = fileio.get(path, backend_args=self.backend_args)
            encoded = (
                EncodedImage.from_content(path, content) if self.lazy else None
            )
            image = encoded or read_image(content)
        except UnreadableImage as error:
            raise UnreadableImage(path, error.reason) from error
        except OSError as error:
            raise UnreadableImage(path, _reason(error)) from error
        results['img'] = image
        size = encoded.size if encoded else image.shape[:2]
        results['img_shape'] = results['ori_shape'] = size
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(lazy={self.lazy})'
