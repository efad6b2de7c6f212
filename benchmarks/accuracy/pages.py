"""The figures on the pages, from the file of results.

``python tools/benchmark.py accuracy ROOT --pages`` writes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from .. import text
from ..corrections import table as corrections
from ..resumable import read_results
from .table import accuracy, of_run, table, watched

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name('results.jsonl')
#: Of students that three runs teach, see ``benchmarks/corrections/taught.py``.
TAUGHT = Path(__file__).with_name('taught.jsonl')
#: Of the unbalanced digits, with the shares of the classes stated or not.
STATED = RESULTS.with_name('stated_prior.jsonl')
#: Of results that labels correct, see ``benchmarks/corrections``.
CORRECTED = RESULTS.parent.with_name('corrections') / 'results.jsonl'
#: Page of all runs, below the repository.
ALL_RUNS = Path('benchmarks', 'accuracy', 'README.md')
#: What a row of README's table is called, and its task.
ROWS = {
    'handwritten digits': 'digits',
    'the same, some classes rare': 'unbalanced',
    'MNIST, digits small in their frame': 'mnist',
}
#: Its columns between the start and who measured.
COLUMNS = ('self-training', 'published', 'balanced')
PARTS = {'Validation parts': 'val', 'Test parts': 'test'}
_BETWEEN = r'(?<=<!-- {0} -->\n).*?(?=<!-- /{0} -->)'


def readme_row(name: str, results: list[dict], taught: list[dict]) -> str:
    """Format a row: mean, deviation where there are several, test part.

    Args:
        name: One of :data:`ROWS`.
        results: See :func:`read_results`.
        taught: The same, of students that three runs teach.
    """
    start, found = _found(ROWS[name], results, taught)
    counts = sorted(
        {len(found[setting]) for setting in COLUMNS if found[setting]}
    )
    said = '–'.join(map(str, counts[:1] + counts[1:][-1:]))
    who = f'[ours](docs/accuracy.md), {said} run{"s" * (said != "1")}'
    cells = [f'{start:.1f}', *_cells(found, start)]
    return '| ' + ' | '.join([name, *cells, who]) + ' |'


def summary_table(results: list[dict], taught: list[dict]) -> str:
    """Format all tasks, test part, a line each; see :func:`readme_row`."""
    # torch, which the command line does without
    from .tasks import TASKS

    rows = []
    for task in TASKS:
        if not any(one['task'] == task for one in results):
            continue
        start, found = _found(task, results, taught)
        alone, published, even, lesson = _cells(found, start)
        lowest = [
            f'{min(found[name]):.1f}' if found[name] else ''
            for name in ('balanced', 'taught')
        ]
        rows.append(
            [task, f'{start:.1f}', alone, published]
            + [even, lowest[0], lesson, lowest[1]]
        )
    titles = ['task', 'start', 'self-training', 'published', 'balanced']
    return text.table([*titles, 'min', 'taught', 'min'], rows)


def _found(
    task: str, results: list[dict], taught: list[dict]
) -> tuple[float, dict[str, list[float]]]:
    """Mean accuracy of the starts; accuracies by setting, and ``taught``."""
    runs = [one for one in results if one['task'] == task]
    starts = {of_run(run): accuracy(run, 'test', 'start') for run in runs}
    found = {
        setting: [
            accuracy(run, 'test') for run in runs if run['setting'] == setting
        ]
        for setting in COLUMNS
    }
    found['taught'] = [
        one['test']['taught'] for one in taught if one['task'] == task
    ]
    return mean(starts.values()), found


def _cells(found: dict[str, list[float]], start: float) -> list[str]:
    best = max(mean(values) for values in found.values() if values)
    return [_cell(values, best, start) for values in found.values()]


def _cell(values: list[float], best: float, start: float) -> str:
    """A mean; in bold if it is the best, marked if worse than the start."""
    if not values:
        return ''
    text = f'{mean(values):.1f}'
    if len(values) > 1:
        text += f' ± {stdev(values):.1f}'
    text = f'**{text}**' if mean(values) == best else text
    return f'{text} (worse)' if mean(values) < start else text


def with_rows(readme: str, results: list[dict], taught: list[dict]) -> str:
    """Return README with the rows of :data:`ROWS` as they are measured."""
    for name in ROWS:
        row = readme_row(name, results, taught)
        place = re.compile(rf'^\| {re.escape(name)} \|.*$', re.MULTILINE)
        readme, count = place.subn(lambda _, row=row: row, readme)
        if count != 1:
            raise ValueError(f'README.md has {count} rows "{name}", not one')
    return readme


def with_summary(page: str, results: list[dict], taught: list[dict]) -> str:
    """Return docs/accuracy.md with its table anew."""
    content = f'{summary_table(results, taught)}\n'
    return _between(page, 'docs/accuracy.md', 'summary', lambda _: content)


def with_corrections(page: str, corrected: list[dict]) -> str:
    """Return docs/adapt.md with its curves of corrections anew."""
    content = f'{corrections.curves(corrected, "test")}\n'
    return _between(page, 'docs/adapt.md', 'corrections', lambda _: content)


def _between(page: str, name: str, mark: str, content: Callable) -> str:
    place = re.compile(_BETWEEN.format(mark), re.DOTALL)
    page, count = place.subn(content, page)
    if count != 1:
        raise ValueError(f'{name} has no <!-- {mark} --> of its own')
    return page


def with_tables(
    page: str,
    results: list[dict],
    taught: list[dict],
    corrected: list[dict],
    stated: list[dict],
) -> str:
    """Return the page of all runs with the tables between its marks anew.

    Those parts of the data are shown that it shows already.
    """
    # MMEngine and torch, which the command line does without
    from ..corrections.taught import taught_table

    compared = [run for run in results if run['setting'] in COLUMNS]

    def tables(found: re.Match) -> str:
        shown = [title for title in PARTS if f'{title}:' in found[0]]
        return (
            '\n\n'.join(
                f'{title}:\n\n{table(compared, PARTS[title])}\n\n'
                f'{watched(compared, PARTS[title])}'
                for title in shown
            )
            + '\n'
        )

    for mark, content in (
        ('tables', tables),
        ('prior', lambda _: f'{table(stated, "test")}\n'),
        ('taught', lambda _: f'{taught_table(taught)}\n'),
        (
            'corrections',
            lambda _: f'{corrections.table(corrected, "test")}\n',
        ),
        ('variants', lambda _: f'{variants_table(results)}\n'),
    ):
        page = _between(page, str(ALL_RUNS), mark, content)
    return page


def variants_table(results: list[dict]) -> str:
    """Variants beside the balanced setting, validation, in pairs.

    A line a variant, a column a task: its mean, and by how much it differs
    from the balanced runs of the same starts and draws.
    """
    # MMEngine and torch, which the command line does without
    from .settings import VARIANTS
    from .tasks import TASKS

    balanced = {
        (run['task'], of_run(run)): accuracy(run, 'val')
        for run in results
        if run['setting'] == 'balanced'
    }
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for run in results:
        pair = balanced.get((run['task'], of_run(run)))
        if run['setting'] in VARIANTS and pair is not None:
            row = found.setdefault(run['setting'], {})
            value = accuracy(run, 'val')
            row.setdefault(run['task'], []).append((value, value - pair))
    tasks = [t for t in TASKS if any(t in row for row in found.values())]

    def cell(pairs: list[tuple[float, float]]) -> str:
        if not pairs:
            return ''
        value, minus = map(mean, zip(*pairs, strict=True))
        return f'{value:.1f} ({minus:+.1f})'

    return text.table(
        ['variant', *tasks],
        [
            [name, *(cell(found[name].get(task, [])) for task in tasks)]
            for name in VARIANTS
            if name in found
        ],
    )


def write_pages() -> None:
    """Write the figures that are kept into the pages."""
    results, taught, corrected, stated = map(
        read_results, (RESULTS, TAUGHT, CORRECTED, STATED)
    )
    for path, change in (
        ('README.md', lambda page: with_rows(page, results, taught)),
        ('docs/accuracy.md', lambda page: with_summary(page, results, taught)),
        ('docs/adapt.md', lambda page: with_corrections(page, corrected)),
        (
            ALL_RUNS,
            lambda page: with_tables(page, results, taught, corrected, stated),
        ),
    ):
        path = REPOSITORY / path
        path.write_text(change(path.read_text()))
