"""Run MMPretrain's own tools with this package's parts registered."""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import mmpretrain


def run_tool(path: str, options: Sequence[str] = ()) -> None:
    """Run one of MMPretrain's tools with the arguments of this process.

    Args:
        path: Path below MMPretrain's ``tools``, for instance
            ``misc/print_config.py``.
        options: Arguments to add.

    Raises:
        FileNotFoundError: If this installation of MMPretrain has no such
            tool, as those made from its source folder.
    """
    tool = Path(mmpretrain.__file__).parent / '.mim' / 'tools' / path
    if not tool.is_file():
        raise FileNotFoundError(
            f'{tool} is missing; install MMPretrain as a wheel to get its '
            'tools'
        )
    sys.argv = [str(tool), *sys.argv[1:], *options]
    # its helpers lie beside it
    sys.path.insert(0, str(tool.parent))
    runpy.run_path(str(tool), run_name='__main__')
