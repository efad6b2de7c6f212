"""Where the results of corrections lie."""

import re
import shlex
from pathlib import Path

from .options import FILE

STATE = 'result.json'  # is there once a run has ended
_FOLDER = re.compile(r'corrected-(\d+)')


def corrected_folder(out: Path) -> Path:
    """A folder for what corrections make of a result.

    ``corrected-1``, ``corrected-2``, ... in the folder of the first result,
    whichever of them is corrected.

    Raises:
        ValueError: If the last one holds a run that has not ended.
    """
    first = out.parent if _FOLDER.fullmatch(out.name) else out
    there = sorted(
        int(match[1])
        for path in first.iterdir()
        if (match := _FOLDER.fullmatch(path.name)) and any(path.iterdir())
    )
    last = first / f'corrected-{there[-1]}' if there else None
    if last and (last / FILE).is_file() and not (last / STATE).is_file():
        raise ValueError(
            f'--labels: {last} holds a correction that has not ended; go on '
            f'with it first, by must-adapt --resume {shlex.quote(str(last))}, '
            'or remove it'
        )
    return first / f'corrected-{(there[-1] if there else 0) + 1}'
