"""What a file is that is no image, or none that everybody reads."""

import functools
import importlib.util
import io

from PIL.TiffImagePlugin import ImageFileDirectory_v2

#: Brands of HEIC.
_HEIC = (b'heic', b'heix', b'hevc', b'hevx', b'heim', b'heis')


def explain(content: bytes) -> str | None:
    """Say what a file is that is no image Pillow can read.

    Returns:
        What it is and what to do; ``None`` if nothing is known of it.
    """
    if content.startswith(b'version https://git-lfs.github.com'):
        return 'a Git LFS pointer: fetch the image with git lfs pull'
    if is_heic(content) and not reads_heif():
        return (
            'HEIC, as phones write it: pip install "must_mm[heif]", or '
            'convert it to JPEG'
        )
    start = content[:200].lstrip().lower()
    if start.startswith((b'<svg', b'<?xml')) and b'<svg' in content[:2000]:
        return 'a drawing (SVG): convert it to PNG'
    if start.startswith((b'<!doctype html', b'<html')):
        return 'a web page, not an image'
    if content[:4] in (b'II*\0', b'MM\0*'):
        return _bands(content)
    return None


def _bands(content: bytes) -> str | None:
    """How many channels a TIFF has, of how many bits, from its header."""
    try:
        directory = ImageFileDirectory_v2(content[:8])
        file = io.BytesIO(content)
        file.seek(directory.next)
        directory.load(file)
        bits, bands = directory.get(258, (1,)), directory.get(277, 1)
    except Exception:  # damaged
        return None
    if bands in (1, 3):
        return None
    kind = {2: 'signed ', 3: 'floating-point '}.get(
        (directory.get(339) or (1,))[0], ''
    )
    return (
        f'a TIFF of {bands} bands of {bits[0]} {kind}bits: choose three of '
        'them, or one, and save them with 8 bits'
    )


def is_heic(content: bytes) -> bool:
    """Whether it is the kind of HEIF that phones write; AVIF is another."""
    brands = content[8 : int.from_bytes(content[:4], 'big')][:256]
    return (
        content[4:8] == b'ftyp'
        and any(brand in brands for brand in _HEIC)
        and b'avi' not in brands
    )


@functools.cache
def reads_heif() -> bool:
    """Let Pillow read HEIC, if the package for it is installed."""
    if importlib.util.find_spec('pillow_heif') is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True
