"""Find the images of a folder, and those that can be read."""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..transforms.loading import UnreadableImage, read_image

SUFFIXES = frozenset(
    '.jpg .jpeg .jpe .jfif .png .gif .bmp .dib .webp .tif .tiff .ppm .pgm '
    '.pbm .pnm .jp2 .avif .heic .heif'.split()
)
_OTHERS = {
    suffix: 'HEIC is not supported: convert it to JPEG'
    for suffix in ('.heic', '.heif')
}


def find_images(folder: Path, leave_out: Path | None = None) -> list[str]:
    """List the images below a folder, by their suffix, at any depth.

    Folders that links lead to are not entered.

    Args:
        folder: The folder.
        leave_out: A folder in it that is not looked into.

    Returns:
        Paths below the folder, with ``/``, sorted.
    """
    leave_out = leave_out and leave_out.resolve()
    found = []
    for root, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if leave_out is None or Path(root, name).resolve() != leave_out
        ]
        found += [
            Path(root, name).relative_to(folder).as_posix()
            for name in files
            if Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(found)


def _reason_to_skip(folder: Path, name: str) -> str | None:
    """Why an image cannot be used; decodes all of it."""
    printable = name.encode('utf-8', 'replace').decode()
    if (
        printable != name
        or name.splitlines() != [name]
        or name != name.strip()
    ):
        return 'its name cannot stand in a list: rename it'
    suffix = Path(name).suffix.lower()
    if suffix in _OTHERS:
        return _OTHERS[suffix]
    path = folder / name
    try:
        read_image(path)
    except UnreadableImage as error:
        return error.reason
    return None


def split_readable(
    folder: Path,
    names: Sequence[str],
    threads: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[list[str], dict[str, str]]:
    """Decode every image once, on some threads.

    Args:
        folder: Where the images lie.
        names: Their paths below it.
        threads: How many to decode at a time.
        progress: Called with the number of images looked at.

    Returns:
        The names that can be read, and the others with the reason.
    """
    good, skipped = [], {}
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        # what Pillow has to say of an image that it can read
        warnings.filterwarnings('ignore', module='PIL')
        reasons = pool.map(lambda name: _reason_to_skip(folder, name), names)
        for done, (name, reason) in enumerate(
            zip(names, reasons, strict=True), 1
        ):
            if reason is None:
                good.append(name)
            else:
                skipped[name.encode('utf-8', 'replace').decode()] = reason
            progress(done)
    return good, skipped
