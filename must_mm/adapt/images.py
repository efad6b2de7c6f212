"""Find the images of a folder, and those that can be read."""

import os
import stat
import warnings
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from must_mm_cli.clutter import is_clutter

from ..transforms.loading import UnreadableImage, look_at

SUFFIXES = frozenset(
    '.jpg .jpeg .jpe .jfif .png .gif .bmp .dib .webp .tif .tiff .ppm .pgm '
    '.pbm .pnm .jp2 .avif .heic .heif'.split()
)
_RAW = frozenset(  # what cameras write that is no image yet
    '.3fr .arw .cr2 .cr3 .dng .nef .orf .pef .raf .raw .rw2 .srw'.split()
)


@dataclass
class Found:
    """What lies below a folder.

    Attributes:
        names: Paths of images below the folder, with ``/``, sorted.
        closed: Folders that could not be looked into, with the reason.
        others: How many files have which other suffix.
    """

    names: list[str] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)
    others: Counter = field(default_factory=Counter)


def other_suffixes(others: Counter) -> str:
    """Say how many files have which other suffix, the most frequent first."""
    return ', '.join(
        f'{count} {suffix or "without a suffix"}'
        for suffix, count in others.most_common(5)
    ) + ', ...' * (len(others) > 5)


def not_looked_at(others: Counter) -> str | None:
    """Say that there are files that are not looked at, if there are."""
    if not others:
        return None
    raw = '; convert RAW photos to JPEG' if _RAW & others.keys() else ''
    return f'not looked at: {other_suffixes(others)}{raw}'


def search(folder: Path, *leave_out: Path) -> Found:
    """List the images below a folder, by their suffix, at any depth.

    Hidden and system files and folders are passed over. Links to folders are
    followed, and every folder is entered once, under its own name if it has
    one here: a link that leads back, or to a folder that was seen, ends
    there.

    Args:
        folder: The folder.
        leave_out: Folders that are not looked into.
    """
    found = Found()
    seen = {_identity(path) for path in leave_out if path.exists()}
    own, linked = deque([Path(folder)]), deque()
    while own or linked:
        # links come last: what lies here has its own name
        here = own.popleft() if own else linked.popleft()
        try:
            identity = _identity(here)
            if identity in seen:
                continue
            seen.add(identity)
            with os.scandir(here) as entries:
                entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            shown = here.relative_to(folder).as_posix()
            found.closed[shown] = os.strerror(error.errno or 0)
            continue
        for entry in entries:
            if is_clutter(entry.name):
                continue
            path = Path(entry.path)
            if _is_folder(entry):
                (linked if entry.is_symlink() else own).append(path)
            elif path.suffix.lower() in SUFFIXES:
                found.names.append(path.relative_to(folder).as_posix())
            else:
                found.others[path.suffix.lower()] += 1
    found.names.sort()
    return found


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(path: Path) -> tuple[int, int] | str:
    """What tells a folder from others, whatever link leads to it."""
    status = path.stat()
    # some file systems of Windows number nothing
    return (
        (status.st_dev, status.st_ino)
        if status.st_ino
        else str(path.resolve())
    )


def find_images(folder: Path, *leave_out: Path) -> list[str]:
    """The images of :func:`search` alone."""
    return search(folder, *leave_out).names


def folders_of(folder: Path) -> tuple[Path, list[Path]]:
    """The folders that stand for classes.

    Hidden and system folders do not count. A single folder around all others
    is entered, as archives often have one.

    Args:
        folder: The folder that is given.

    Returns:
        The folder that holds them, and them, sorted by name.
    """
    while True:
        inside = [
            path
            for path in sorted(folder.iterdir())
            if not is_clutter(path.name)
        ]
        folders = [path for path in inside if path.is_dir()]
        images = any(path.suffix.lower() in SUFFIXES for path in inside)
        if (
            len(folders) != 1
            or images
            or not any(
                path.is_dir() and not is_clutter(path.name)
                for path in folders[0].iterdir()
            )
            or folders[0].resolve() == folder.resolve()
            or folder.resolve().is_relative_to(folders[0].resolve())
        ):
            return folder, folders
        folder = folders[0]


@dataclass(frozen=True)
class Looked:
    """What decoding an image told.

    Attributes:
        reason: Why it cannot be used; ``None`` if it can.
        alike: Whether MMPretrain's own loader sees the same pixels.
        largest: The largest of its values, if it has 16 bits.
    """

    reason: str | None
    alike: bool = True
    largest: int | None = None


def _look(folder: Path, name: str) -> Looked:
    """Decode an image."""
    printable = name.encode('utf-8', 'replace').decode()
    if (
        printable != name
        or name.splitlines() != [name]
        or name != name.strip()
    ):
        return Looked('its name cannot stand in a list: rename it')
    path = folder / name
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Looked('it is no regular file')
        return Looked(None, *look_at(path.read_bytes()))
    except FileNotFoundError:
        link = path.is_symlink()
        return Looked(
            f'its link leads to {os.readlink(path)}, where nothing is'
            if link
            else 'there is no such file'
        )
    except UnreadableImage as error:
        return Looked(error.reason)
    except OSError as error:
        return Looked(os.strerror(error.errno) if error.errno else str(error))


@dataclass
class Readable:
    """The images of a folder, looked at.

    Attributes:
        names: Those that can be read.
        skipped: The others, with the reason.
        unlike: Those of which MMPretrain's own loader sees other pixels.
        largest: The largest value of each that has 16 bits.
    """

    names: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    unlike: list[str] = field(default_factory=list)
    largest: dict[str, int] = field(default_factory=dict)


def split_readable(
    folder: Path,
    names: Sequence[str],
    threads: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Readable:
    """Decode every image once, on some threads.

    Args:
        folder: Where the images lie.
        names: Their paths below it.
        threads: How many to decode at a time.
        progress: Called with the number of images looked at.
    """
    readable = Readable()
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        # what Pillow has to say of an image that it can read
        warnings.filterwarnings('ignore', module='PIL')
        looks = pool.map(lambda name: _look(folder, name), names)
        for done, (name, look) in enumerate(zip(names, looks, strict=True), 1):
            if look.reason is not None:
                shown = name.encode('utf-8', 'replace').decode()
                readable.skipped[shown] = look.reason
            else:
                readable.names.append(name)
                if not look.alike:
                    readable.unlike.append(name)
                if look.largest is not None:
                    readable.largest[name] = look.largest
            progress(done)
    return readable


def dark_images(largest: dict[str, int]) -> str | None:
    """Say that images of 16 bits use few of them, if they do.

    Cameras, X-rays and satellites write 10 to 14 bits, or reflectance in ten
    thousandths, into files of 16; read as such, they are nearly black.

    Args:
        largest: The largest value of each image of 16 bits.
    """
    dark = {name: value for name, value in largest.items() if value < 16384}
    if not dark:
        return None
    most = max(dark.values())
    bits = max(1, most.bit_length())
    example = min(dark)
    return (
        f'{len(dark)} of {len(largest)} images of 16 bits use '
        f'{bits} of them at most (largest value {most}; such as {example}): '
        'they are read as nearly black. Scale their values to 0 to 65535, or '
        'save them with 8 bits'
    )
