"""Checkpoints are data: loading one never runs code.

PyTorch unpickles tensors, containers and what is on its allow-list when it
loads ``weights_only``. Importing this module puts what MMEngine writes on
that list, and makes every loader of MMEngine (``load_from``, ``resume``,
``tools/test.py``, URLs) load that way, on every engine: one engine falls back
to running code by itself, another keeps PyTorch's own default.
"""

import errno
import functools
import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from .containers import explain, is_safetensors
from .whole_file import write_whole

_NUMPY = getattr(np, '_core', None) or np.core
# NumPy 1 and 2 write the same functions under these names
_NUMPY_NAMES = ('numpy.core.multiarray', 'numpy._core.multiarray')
_FORCE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


def _history_method(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``, which would open every door.

    MMEngine's :class:`HistoryBuffer` pickles its statistics methods as
    ``getattr(HistoryBuffer, 'mean')`` and the like; nothing else may ask.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) refused')


torch.serialization.add_safe_globals(
    [
        (_history_method, 'builtins.getattr'),
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *(
            (getattr(_NUMPY.multiarray, name), f'{module}.{name}')
            for module in _NUMPY_NAMES
            for name in ('_reconstruct', 'scalar')
        ),
        *{
            type(np.dtype(kind))
            for kind in ('f8', 'f4', 'i8', 'i4', 'u1', '?', 'U')
        },
    ]
)


@contextmanager
def plain_data_only(path: str | Path) -> Iterator[None]:
    """Force ``weights_only`` on every ``torch.load`` within the context.

    Args:
        path: The checkpoint that is loaded, for the error message.

    Raises:
        ValueError: If the file is damaged or holds anything but data.
        OSError: If it cannot be read now, damaged or not.
    """
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = '1'
    try:
        yield
    except MemoryError:
        raise
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        # of a place in the file that damaged bytes name
        raise _damaged(path, error) from error
    except pickle.UnpicklingError as error:
        # PyTorch's own text advises to switch the protection off
        reason = str(error).split('WeightsUnpickler error:')[-1]
        raise ValueError(
            f'{path} is no checkpoint of plain data: it is damaged, or it '
            'holds Python objects, which could run code and are not loaded. '
            'If you trust the file, save its tensors alone with '
            "torch.save(model.state_dict(), ...). PyTorch's reason: "
            + reason.split('Please use')[0].strip()
        ) from error
    except Exception as error:  # damaged bytes make parsers raise anything
        raise _damaged(path, error) from error
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before


def _damaged(path: str | Path, error: Exception) -> ValueError:
    return ValueError(
        f'{path} could not be read, it may be damaged: '
        f'{type(error).__name__}: {error}'
    )


def check_sums(file: BinaryIO) -> None:
    """Compare an archive with the checksums in it, which PyTorch does not.

    Files of PyTorch's old format have none.

    Raises:
        ValueError: If a part of the archive has changed since it was written,
            or parts are compressed, which PyTorch never does.
        BadZipFile: If it is no whole archive.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        # a small file must not become a large one
        unpacked = sum(part.file_size for part in archive.infolist())
        if unpacked > file.seek(0, os.SEEK_END):
            raise ValueError(f'its parts would take {unpacked:,} bytes')
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f'checksum of {damaged} differs')


def load_tensors(path: str | Path) -> dict:
    """Load a checkpoint to the CPU without running code it may contain.

    Args:
        path: A file of safetensors, or one written by ``torch.save``; the
            content counts, not the suffix.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no whole checkpoint, with what it is;
            if it holds anything but data, or no dict.
        OSError: If it cannot be read now.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    stranger = explain(path)
    if stranger:
        raise ValueError(f'{path} {stranger}')
    if is_safetensors(path):
        from safetensors.torch import load_file

        with plain_data_only(path):
            return load_file(path)
    with path.open('rb') as file:  # by a name, torch goes by its suffix
        return read_tensors(file, path)


def read_tensors(file: BinaryIO, path: str | Path) -> dict:
    """Load an open file of ``torch.save``; see :func:`load_tensors`.

    Args:
        file: The file, or its bytes.
        path: Its name, for errors.
    """
    with plain_data_only(path):
        check_sums(file)
        file.seek(0)
        content = torch.load(file, map_location='cpu', weights_only=True)
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} holds a {type(content).__name__}, no dict of a checkpoint'
        )
    return content


def save_tensors(content: dict, path: str | Path) -> None:
    """Write a checkpoint that appears once it is whole.

    Raises:
        OSError: If it cannot be written; see :func:`write_whole`.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getbuffer())


def without_code(content: dict) -> dict:
    """Drop ``meta.config``, a text that MMEngine runs when it resumes.

    MMEngine writes ``meta.cfg`` instead, which it only reads; checkpoints of
    MMCV 1 have such a text, harmless or not.
    """
    meta = content.get('meta') if isinstance(content, dict) else None
    if isinstance(meta, dict) and isinstance(meta.get('config'), str):
        del meta['config']
    return content


def _as_plain_data(loader: Callable) -> Callable:

    @functools.wraps(loader)
    def load(filename, *args, **kwargs):
        with plain_data_only(filename):
            return without_code(loader(filename, *args, **kwargs))

    return load


for _prefix, _loader in list(CheckpointLoader._schemes.items()):
    CheckpointLoader.register_scheme(
        _prefix, _as_plain_data(_loader), force=True
    )


_kept: dict[str, dict] = {}


def keep(path: str | Path, content: dict) -> None:
    """Spare the next loader of a file in this process a second reading.

    Args:
        path: The file, as it will be named.
        content: What :func:`load_tensors` has returned of it.
    """
    _kept.clear()
    _kept[str(path)] = content


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_local(filename: str, map_location=None) -> dict:
    """MMEngine's loader of local files; tensors come to the CPU.

    OneDL's own loader allows ``getattr`` while it loads, so it is not used.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of plain data.
    """
    content = _kept.pop(str(filename), None) or load_tensors(filename)
    content = without_code(content)
    state = content.get('state_dict', content)
    if not isinstance(state, dict) or not all(
        isinstance(name, str) for name in state
    ):
        raise ValueError(
            f'{filename} holds no state dict, which maps names to tensors'
        )
    if state is not content:
        strangers = [
            name
            for name, value in state.items()
            if not isinstance(value, torch.Tensor)
        ]
        if strangers:
            raise ValueError(
                f'{filename}: state_dict.{strangers[0]} is no tensor'
            )
    return content
