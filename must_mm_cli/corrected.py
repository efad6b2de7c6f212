"""Where the results of corrections lie."""

import re
from pathlib import Path

from .options import FILE, going_on

STATE = 'result.json'  # is there once a run has ended
_FOLDER = re.compile(r'corrected-(\d+)')


def first_result(out: Path) -> Path:
    """Folder of the result that a correction began with, or that is none."""
    return out.parent if _FOLDER.fullmatch(out.name) else out


def corrections(out: Path) -> dict[int, Path]:
    """Folders of what corrections have made of a result, in their order.

    They are in the folder of the first result, whichever of them is given.
    """
    found = {
        int(match[1]): path
        for path in first_result(out).iterdir()
        if (match := _FOLDER.fullmatch(path.name)) and any(path.iterdir())
    }
    return dict(sorted(found.items()))


def corrected_folder(out: Path) -> Path:
    """A folder for what the next correction makes of a result.

    ``corrected-1``, ``corrected-2``, ...; see :func:`corrections`.

    Raises:
        ValueError: If the last one holds a run that has not ended.
    """
    there = corrections(out)
    newest = max(there, default=0)
    last = there.get(newest)
    if last and (last / FILE).is_file() and not (last / STATE).is_file():
        raise ValueError(
            f'--labels: {last} holds a correction that has not ended; go on '
            f'with it first, by {going_on(last)}, or remove it'
        )
    return first_result(out) / f'corrected-{newest + 1}'
