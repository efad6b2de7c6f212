"""The table of all runs that have ended."""

from __future__ import annotations

from statistics import mean, stdev

from .. import text

BASE = 'published'


def of_run(result: dict) -> tuple[int, int]:
    """Start and draw, by which runs are compared in pairs."""
    return result['start'], result['draw']


def accuracy(result: dict, part: str, who: str = 'student') -> float:
    """Accuracy in per cent on a part."""
    return result['judged'][who][part]['accuracy']


def paired(one: list[dict], other: list[dict], part: str) -> str:
    """Mean difference of the runs that both have, and its standard error."""
    base = {of_run(result): accuracy(result, part) for result in other}
    found = [
        accuracy(result, part) - base[of_run(result)]
        for result in one
        if of_run(result) in base
    ]
    if len(found) < 2:
        return f'{found[0]:+.1f} (1 run)' if found else '–'
    error = stdev(found) / len(found) ** 0.5
    return f'{mean(found):+.1f} ± {error:.1f} ({len(found)})'


def row(runs: list[dict], base: list[dict], part: str) -> list[str]:
    """The cells of a setting's row; see :data:`TITLES`."""
    student = [accuracy(result, part) for result in runs]
    start = [accuracy(result, part, 'start') for result in runs]
    below = sum(s < b for s, b in zip(student, start, strict=True))
    lost = sum(r['judged']['student'][part]['lost'] > 0 for r in runs)
    return [
        f'{len(runs)}',
        f'{mean(start):.1f}',
        f'**{mean(student):.1f}**',
        f'{stdev(student):.1f}' if len(student) > 1 else '–',
        f'{min(student):.1f}',
        '' if base is runs else paired(runs, base, part),
        f'{lost}',
        f'{below}',
        f'{_count(runs, "warn")} / {_count(runs, "stop")}',
    ]


def _count(runs: list[dict], limit: str) -> int:
    """How many runs the watch on collapse has found beyond a limit.

    Args:
        runs: See :func:`read_results`.
        limit: ``'warn'`` or ``'stop'``.
    """
    from must_mm.engine.collapse import LIMITS

    return sum(
        any(
            level > getattr(LIMITS[name], limit)
            for name, level in run['watched'].items()
        )
        for run in runs
    )


TITLES = (
    'task',
    'setting',
    'runs',
    'start',
    'student',
    'sd',
    'min',
    f'minus {BASE}',
    'lost a class',
    'below start',
    'warned / stopped',
)


def table(results: list[dict], part: str) -> str:
    """Format the runs as a table, one line a task and setting.

    Args:
        results: See :func:`read_results`.
        part: ``'val'`` to choose settings, ``'test'``.
    """
    by = {}
    for result in results:
        by.setdefault((result['task'], result['setting']), []).append(result)
    rows = []
    for (task, setting), runs in sorted(by.items()):
        with_prior = setting.endswith('+prior') and f'{BASE}+prior'
        base = by.get((task, with_prior or BASE), [])
        rows.append([task, setting, *row(runs, base, part)])
    return text.table(TITLES, rows)


def watched(results: list[dict], part: str) -> str:
    """Say of how many runs the watch on collapse warns.

    Args:
        results: See :func:`read_results`.
        part: Where a run is compared with its start.
    """
    sound: dict[bool, list[dict]] = {True: [], False: []}
    for run in results:
        better = accuracy(run, part) >= accuracy(run, part, 'start')
        sound[better].append(run)

    def said(runs: list[dict]) -> str:
        warned, stopped = _count(runs, 'warn'), _count(runs, 'stop')
        return f'{len(runs)}, {warned} warned of, {stopped} to be stopped'

    return (
        f'Runs that end below their start: {said(sound[False])}.\n'
        f'All others: {said(sound[True])}.'
    )
