"""Measure accuracy: tools/benchmark.py accuracy ROOT [options].

Each run is added to a file of results as it ends; the command skips what is
there, so it may be stopped and started again, and several may share a folder,
one process a core (OMP_NUM_THREADS=1), each with its own --share.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from ..resumable import read_results, run_missing
from ..text import command_line
from .pages import write_pages
from .table import table, watched


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    from .settings import SETTINGS
    from .tasks import TASKS

    found = command_line('accuracy', __doc__)
    add = found.add_argument
    add('root', type=Path, help='folder of starts, images, views')
    add('--results', type=Path, help='default: ROOT/accuracy.jsonl')
    add('--mnist', type=Path, help='npz file of train, val and test part')
    add('--tasks', nargs='+', default=['digits'], choices=[*TASKS])
    add(
        '--settings',
        nargs='+',
        default=['published', 'self-training', 'balanced'],
        choices=[*SETTINGS],
    )
    add('--starts', type=int, nargs='+', default=[0, 1, 2, 3, 4])
    add('--draws', type=int, nargs='+', default=[0, 1, 2, 3])
    add(
        '--part',
        choices=['val', 'test', 'train'],
        default='val',
        help='part in the table; test only once, after all choices; train '
        'with --trust',
    )
    add('--table', action='store_true', help='print the table, train nothing')
    add(
        '--trust',
        action='store_true',
        help='print how far confidences, estimates of the accuracy and the '
        'choice of a run can be believed; train nothing',
    )
    add(
        '--shares',
        action='store_true',
        help="print how far estimates of the classes' shares are off; train "
        'nothing',
    )
    add(
        '--pages',
        action='store_true',
        help='write the kept results into README and docs, train nothing',
    )
    add(
        '--share',
        default='1/1',
        metavar='I/N',
        help='take every N-th run, from the I-th on',
    )
    return found


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    args = parser().parse_args(argv)
    if args.pages:
        write_pages()
        return
    results = args.results or args.root / 'accuracy.jsonl'
    if args.shares:
        from .shares import report as report_shares

        print(report_shares(args.root))
        return
    if args.trust:
        from .trust import read_runs, report

        print(report(read_runs(args.root, args.part)))
        return
    if not args.table:
        _run_missing(args, results)
    found = read_results(results)
    print(table(found, args.part))
    print(f'\n{watched(found, args.part)}')


def _run_missing(args: argparse.Namespace, results: Path) -> None:
    from . import views  # noqa: F401, registers the data set
    from .training import Job, run

    jobs = [
        Job(task, setting, start, draw)
        for draw, start, task, setting in product(
            args.draws, args.starts, args.tasks, args.settings
        )
    ]
    first, step = map(int, args.share.split('/'))

    def said(result: dict) -> list[str]:
        judged = result['judged']
        return [f'{who} {judged[who]["val"]["accuracy"]}' for who in judged]

    run_missing(
        jobs[first - 1 :: step],
        results,
        lambda job: run(args.root, job, args.mnist),
        said,
    )
