"""What labels bring: tools/benchmark.py corrections ROOT [options].

What three balanced runs have taught a student is corrected by the labels of
some images, as must-adapt --resume DIR --labels FILE does. Each correction is
added to a file of results as it ends; the command skips what is there, so it
may be stopped and started again. ROOT may be that of the accuracy benchmark,
whose starts, views and runs are used.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from ..resumable import read_results, run_missing
from ..text import command_line
from .table import table

STARTS = 5


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    found = command_line('corrections', __doc__)
    add = found.add_argument
    add('root', type=Path, help='folder of starts, images, views, results')
    add('--results', type=Path, help='default: ROOT/corrections.jsonl')
    add('--mnist', type=Path, help='npz file of train, val and test part')
    add(
        '--task',
        default='digits',
        choices=['digits', 'unbalanced', 'lacking', 'mnist-cut', 'mnist'],
    )
    add('--start', type=int, default=3, help='seed of the start model')
    add('--draws', type=int, nargs='+', default=[0, 1, 2, 3, 4])
    add('--counts', type=int, nargs='+', default=[0, 10, 20, 50, 100])
    add(
        '--choices',
        nargs='+',
        default=['review', 'chance'],
        choices=['review', 'chance'],
    )
    add('--part', choices=['val', 'test', 'rest'], default='test')
    add(
        '--taught',
        action='store_true',
        help='instead, let the runs of the accuracy benchmark from each start '
        'teach a student together, where there are three',
    )
    add('--table', action='store_true', help='print the table, train nothing')
    return found


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    args = parser().parse_args(argv)
    if args.taught:
        from .taught import teach

        print(teach(args.root, args.task, range(STARTS), args.mnist))
        return
    results = args.results or args.root / 'corrections.jsonl'
    if not args.table:
        _run_missing(args, results)
    print(table(read_results(results), args.part))


def _run_missing(args: argparse.Namespace, results: Path) -> None:
    from .training import NOTHING, Job, run

    jobs = [
        Job(args.task, args.start, draw, choice if count else NOTHING, count)
        for draw, count, choice in product(
            args.draws, args.counts, args.choices
        )
    ]

    def said(result: dict) -> list[str]:
        before, after = result['before'], result['after']
        return [
            f'{result["wrong"]} were wrong:',
            *(
                f'{part} {before[part]["accuracy"]} -> '
                f'{after[part]["accuracy"]}'
                for part in after
            ),
        ]

    run_missing(
        dict.fromkeys(jobs),
        results,
        lambda job: run(args.root, job, args.mnist),
        said,
    )
