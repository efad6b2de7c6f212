"""Where the configs lie: in the repository, or in the installed package."""
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def config_path(name: str) -> Path:
    """Find a config of this project.

    Args:
        name: Path below ``configs/``, for instance
            ``must/quickstart_digits.py``.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    for root in (_PACKAGE / '.mim' / 'configs', _PACKAGE.parent / 'configs'):
        if (root / name).is_file():
            return root / name
    raise FileNotFoundError(f'must_mm has no config {name}')
