"""Runs of a benchmark, added to a file of results as they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def read_results(path: Path) -> list[dict]:
    """Read the runs, a JSON object a line; none if there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def run_missing(
    jobs: Iterable[Any],
    results: Path,
    run: Callable[[Any], dict],
    said: Callable[[dict], list[str]],
) -> None:
    """Run the jobs whose result is not there; say each result in a line.

    Args:
        jobs: Dataclasses, whose attributes their results have.
        results: The file, a JSON object a line; read anew before each run,
            since other processes may write to it.
        run: Runs a job; what it returns has ``seconds``, too.
        said: What to say of a result, between its job and its seconds.
    """
    for job in jobs:
        done = {
            tuple(result[name] for name in vars(job))
            for result in read_results(results)
        }
        if tuple(vars(job).values()) in done:
            continue
        result = run(job)
        with results.open('a') as file:
            file.write(json.dumps(result) + '\n')
        print(
            *vars(job).values(),
            *said(result),
            f'{result["seconds"]:.0f} s',
            flush=True,
        )
