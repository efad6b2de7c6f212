"""What kind of file a checkpoint's file is, told by its first bytes.

A download that stopped, the page around a download, and the pointer that Git
LFS leaves are what people have most often in place of weights. Each gets one
line that says so, instead of what a parser makes of it.
"""

import json
import zipfile
from pathlib import Path

_LOOK_AT = 512  # bytes
#: First bytes of what is no checkpoint of PyTorch, what it is, and what to do.
_OTHERS = (
    (b'\x89HDF', 'an HDF5 file, of Keras perhaps', None),
    (b'GGUF', 'a GGUF file of llama.cpp', None),
    (b'\x1f\x8b', 'a gzip archive', 'unpack it'),
    (b'BZh', 'a bzip2 archive', 'unpack it'),
    (b'\xfd7zXZ', 'an xz archive', 'unpack it'),
    (b'7z\xbc\xaf', 'a 7z archive', 'unpack it'),
    (b'Rar!', 'a RAR archive', 'unpack it'),
    (b'%PDF', 'a PDF', None),
    (b'\xff\xd8\xff', 'a JPEG image', None),
    (b'\x89PNG', 'a PNG image', None),
)
_WEIGHTS = 'give weights as PyTorch (.pt, .pth, .bin) or safetensors keep them'
_AGAIN = 'get it again'


def is_safetensors(path: str | Path) -> bool:
    """Whether a file is of the safetensors format, whatever its suffix."""
    return _safetensors_size(Path(path)) is not None


def _safetensors_size(path: Path) -> int | None:
    """Bytes that a safetensors file should have; ``None`` for other files."""
    with path.open('rb') as file:
        start = file.read(9)
        length = int.from_bytes(start[:8], 'little')
        if len(start) < 9 or start[8:] != b'{' or length > 100_000_000:
            return None
        header = b'{' + file.read(length - 1)
    if len(header) < length:
        return 8 + length + 1  # ends within its header
    try:
        parts = json.loads(header)
        ends = [
            part['data_offsets'][1]
            for name, part in parts.items()
            if name != '__metadata__'
        ]
    except (KeyError, TypeError, ValueError):
        return None
    return 8 + length + max(ends, default=0)


def explain(path: str | Path) -> str | None:
    """Say in one line what a file is, if it cannot be a whole checkpoint.

    Args:
        path: A file that exists.

    Returns:
        What it is and what to do, to stand behind the file's name; ``None``
        for what may be a checkpoint.

    Raises:
        OSError: If it cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size
    if not size:
        return f'is empty, damaged or not downloaded: {_AGAIN}'
    with path.open('rb') as file:
        start = file.read(_LOOK_AT)
    text = start.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if text.startswith(b'version https://git-lfs.github.com'):
        return (
            'is a Git LFS pointer, a few lines in place of the file: fetch '
            'it with git lfs pull'
        )
    if text.startswith(
        (b'<!doctype', b'<html', b'<?xml', b'<head', b'<script', b'<!--')
    ):
        return (
            'is a web page, not weights: follow its link to the file itself, '
            'or log in where the page asks for it'
        )
    if text.startswith((b'{"', b"{'", b'{\n', b'{ ')) and path.suffix in (
        '.json',
        '.index',
    ):
        what = (
            'lists the parts of weights'
            if b'weight_map' in path.read_bytes()
            else 'is JSON, not weights'
        )
        return f'{what}: give the weights as one file'
    for magic, what, todo in _OTHERS:
        if start.startswith(magic):
            return f'is {what}: {todo or _WEIGHTS}'
    wanted = _safetensors_size(path)
    if wanted is not None and size < wanted:
        return (
            f'ends too early, it is damaged or its download stopped: it has '
            f'{size:,} of {wanted:,} bytes; {_AGAIN}'
        )
    if start.startswith(b'PK\x03\x04') and not zipfile.is_zipfile(path):
        return (
            f'ends too early, it is damaged or its download stopped after '
            f'{size:,} bytes: {_AGAIN}'
        )
    if not start.strip(b'\0'):
        return f'holds nothing but zeros, it is damaged: {_AGAIN}'
    if _is_text(start) and not _is_old_pickle(start):
        line = text.decode('utf-8', 'replace').splitlines()[0][:60]
        return f'is a text that begins with {line!r}: {_WEIGHTS}'
    return None


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode('utf-8')
    except UnicodeDecodeError as error:
        # the last character may be cut
        if error.start < len(start) - 4:
            return False
        text = start[: error.start].decode('utf-8')
    return all(c.isprintable() or c in '\t\r\n' for c in text)


def _is_old_pickle(start: bytes) -> bool:
    """A pickle of protocol 0, which is text."""
    return start.startswith((b'(dp', b'(lp', b'ccopy_reg'))
