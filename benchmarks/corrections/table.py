"""The curve: accuracy against the number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from .. import text

TITLES = (
    'task',
    'labels',
    'chosen by',
    'runs',
    'were wrong',
    'before',
    'after',
    'deviation',
    'gain over none',
    'minus chance',
    'other images',
)


def _deviation(values: Sequence[float]) -> str:
    return f'{stdev(values):.1f}' if len(values) > 1 else '–'


def _difference(values: Sequence[float]) -> str:
    """Mean, with its standard error and the number of pairs."""
    if not values:
        return ''
    if len(values) == 1:
        return f'{values[0]:+.1f} (1)'
    error = stdev(values) / len(values) ** 0.5
    return f'{mean(values):+.1f} ± {error:.1f} ({len(values)})'


def table(results: list[dict], part: str) -> str:
    """Format the corrections, one line a task, number and choice.

    Args:
        results: What :func:`run` returns.
        part: ``'val'``, ``'test'``, or ``'rest'``: the images that train and
            have no label.
    """
    by: dict[tuple, dict[tuple, dict]] = {}
    for result in results:
        row = result['task'], result['count'], result['choice']
        run = result['start'], result['draw']
        by.setdefault(row, {})[run] = result

    def after(result: dict) -> float:
        return result['after'][part]['accuracy']

    def paired(row: tuple, other: tuple) -> str:
        base = by.get(other, {})
        return _difference(
            [
                after(result) - after(base[run])
                for run, result in by[row].items()
                if run in base
            ]
        )

    rows = []
    for row in sorted(by):
        task, count, choice = row
        runs = list(by[row].values())
        values = [after(result) for result in runs]
        before = mean(result['before'][part]['accuracy'] for result in runs)
        cells = [
            task,
            f'{count}',
            choice,
            f'{len(runs)}',
            f'{mean(result["wrong"] for result in runs):.1f}',
            f'{before:.1f}',
            f'**{mean(values):.1f}**',
            _deviation(values),
            paired(row, (task, 0, 'nothing')) if count else '',
            paired(row, (task, count, 'chance')) if choice != 'chance' else '',
            f'{mean(r["after"]["rest"]["accuracy"] for r in runs):.1f}',
        ]
        rows.append(cells)
    return text.table(TITLES, rows)


def curves(results: list[dict], part: str) -> str:
    """Format accuracy against the number of labels, a line each choice.

    Args:
        results: What :func:`run` returns.
        part: See :func:`table`.
    """
    counts = sorted({result['count'] for result in results})
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for task in dict.fromkeys(result['task'] for result in results):
        of_task = [result for result in results if result['task'] == task]
        for choice in ('review', 'chance'):
            for result in of_task:
                if result['choice'] in (choice, 'nothing'):
                    found.setdefault((task, choice), {}).setdefault(
                        result['count'], []
                    ).append(result['after'][part]['accuracy'])
    rows = [
        [task, choice]
        + [
            f'{mean(values[count]):.1f}' if count in values else ''
            for count in counts
        ]
        for (task, choice), values in found.items()
    ]
    return text.table(['task', 'chosen by', *map(str, counts)], rows)
