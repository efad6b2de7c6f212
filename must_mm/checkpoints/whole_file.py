"""Files appear whole or not at all: a crash leaves the old one or the new."""

import os
import platform
import shutil
from pathlib import Path

PARTIAL = '.partial'


def write_whole(path: str | Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, sync, then rename.

    Killed at any moment, even by a power cut, it leaves the file that was
    there before or the whole new one.

    Args:
        path: The file; its folder is made where missing.
        data: All of its content.

    Raises:
        OSError: If it cannot be written, on a full disk for one: with the
            file's name and the bytes that it takes. What was there before is
            still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # processes of several machines may share the folder
    writer = f'{platform.node()}.{os.getpid()}'
    partial = path.with_name(f'.{path.name}.{writer}{PARTIAL}')
    try:
        with open(partial, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:  # Ctrl-C among them
        partial.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        free = shutil.disk_usage(path.parent).free
        raise OSError(
            error.errno,
            f'{path} could not be written ({os.strerror(error.errno)}): it '
            f'takes {len(data):,} bytes, {free:,} are free. Earlier files are '
            'as they were; make room, then start again (a training with '
            '--resume)',
        ) from error
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last: it is an entry in the folder."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return  # Windows opens no folders; there a rename lasts by itself
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_partials(folder: str | Path) -> None:
    """Remove what killed writers have left in a folder."""
    for partial in Path(folder).glob(f'.*{PARTIAL}'):
        partial.unlink(missing_ok=True)
