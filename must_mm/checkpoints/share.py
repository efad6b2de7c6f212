"""One checkpoint for all ranks, on nodes that share no disk as well."""

import hashlib
import io
import zipfile
from pathlib import Path

import torch
from mmengine.dist import (
    all_gather_object,
    broadcast,
    get_rank,
    get_world_size,
    is_main_process,
)

from .plain import keep, read_tensors

CHUNK = 1 << 26  # bytes sent at once


def fingerprint(path: str | Path) -> str | None:
    """What tells a checkpoint from others of its name; little is read.

    Returns:
        A digest of its size and of the checksums in the archive; ``None``
        where there is no such file, or none that can be read now.
    """
    try:
        known = [str(Path(path).stat().st_size)]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                known += [f'{part.CRC:x}' for part in archive.infolist()]
    except OSError:
        return None
    return hashlib.sha256(' '.join(known).encode()).hexdigest()


def share(path: str | Path) -> None:
    """Send rank 0's checkpoint to the ranks that do not find the same one.

    They keep it for the next who loads the file; nothing is written.

    Args:
        path: The file, as rank 0 names it.
    """
    if get_world_size() == 1:
        return
    prints = all_gather_object(fingerprint(path))
    if all(found == prints[0] for found in prints):
        return
    differs = prints[get_rank()] != prints[0]
    received = io.BytesIO()
    size = torch.tensor(
        [Path(path).stat().st_size if is_main_process() else 0]
    )
    broadcast(size)
    with open(path, 'rb') if is_main_process() else received as file:
        for begin in range(0, int(size), CHUNK):
            chunk = torch.zeros(
                min(CHUNK, int(size) - begin), dtype=torch.uint8
            )
            if is_main_process():
                file.readinto(chunk.numpy())
            broadcast(chunk)
            if differs:
                received.write(chunk.numpy())
        if differs:
            keep(path, read_tensors(received, path))
