"""MMPretrain and what it needs: they come with an extra of the package."""

from importlib.util import find_spec


def check_engine() -> None:
    """Raise unless MMPretrain is installed, with the command that does it.

    Two sets of packages share the import names, so neither can be a
    dependency of this package: one of them is chosen by an extra.

    Raises:
        ImportError: If a package is missing.
    """
    missing = [
        name
        for name in ('mmcv', 'mmengine', 'mmpretrain')
        if find_spec(name) is None
    ]
    if missing == ['mmcv']:
        raise ImportError(
            "must_mm needs mmcv, which OneDL's packages leave out:\n"
            '  pip install --no-deps mmcv-lite'
        )
    if missing:
        raise ImportError(
            f'must_mm needs {" and ".join(missing)}, which are installed '
            'with one of its extras:\n'
            '  pip install "must_mm[upstream]"'
        )
