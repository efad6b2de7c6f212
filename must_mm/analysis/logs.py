"""Logs that MMPretrain's ``analyze_logs.py`` can read."""

import json
from collections.abc import Sequence
from pathlib import Path


def check_log(path: Path, needs_training: bool) -> None:
    """Raise if MMPretrain's tool would fail on a log without naming it.

    Args:
        path: A log with one JSON object a line.
        needs_training: Whether it has to hold steps of a training.

    Raises:
        ValueError: If it is empty, broken, or holds no such step.
    """
    entries = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            entries.append(dict(json.loads(line)))
        except (TypeError, ValueError):
            raise ValueError(
                f'{path}: line {number} is no JSON object; give the '
                'vis_data/scalars.json of a run, or remove the line'
            ) from None
    # MMPretrain tells the steps of a training by their learning rate
    if not entries or (
        needs_training and not any('lr' in entry for entry in entries)
    ):
        raise ValueError(
            f'{path} holds no step of a training; give the '
            'vis_data/scalars.json of a run'
        )


def check_logs(argv: Sequence[str]) -> None:
    """Check the logs of a command line of ``tools/analyze_logs.py``.

    Args:
        argv: Its arguments.
    """
    # whatever follows an option is none of the logs
    first_option = next(
        (i for i, word in enumerate(argv) if word.startswith('-')), len(argv)
    )
    for word in argv[1:first_option]:
        if Path(word).is_file():
            check_log(Path(word), argv[0] == 'cal_train_time')
