"""Versions of what a run was made with."""

import sys
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    'torch', 'torchvision', 'mmpretrain', 'onedl-mmpretrain', 'mmengine',
    'onedl-mmengine', 'mmcv-lite', 'mmcv', 'open_clip_torch', 'numpy',
)  # fmt: skip


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, where present."""
    found = {'python': sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
