"""Where configs and tools lie, and what is kept between runs."""

import os
from pathlib import Path

CACHE = 'MUST_MM_CACHE'
_PACKAGE = Path(__file__).resolve().parents[1]


def _find(folder: str, name: str) -> Path:
    for root in (_PACKAGE / '.mim', _PACKAGE.parent):
        if (root / folder / name).is_file():
            return root / folder / name
    raise FileNotFoundError(f'must_mm has no {folder}/{name}')


def model_index_path() -> Path:
    """Find the index of this project's models, ``model-index.yml``.

    Raises:
        FileNotFoundError: If there is none.
    """
    return _find('.', 'model-index.yml')


def config_path(name: str) -> Path:
    """Find a config of this project.

    Args:
        name: Path below ``configs/``, for instance
            ``must/quickstart_digits.py``.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    return _find('configs', name)


def tool_path(name: str) -> Path:
    """Find a tool of this project, for instance ``train.py``.

    Raises:
        FileNotFoundError: If there is no such tool.
    """
    return _find('tools', name)


def cache_folder() -> Path:
    """``$MUST_MM_CACHE``, or ``must_mm`` in the user's cache folder."""
    default = Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')) / 'must_mm'
    return Path(os.environ.get(CACHE, default)).expanduser()
