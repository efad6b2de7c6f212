"""What benchmarks have in common: a command line, a table."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence


def command_line(name: str, description: str) -> argparse.ArgumentParser:
    """Begin the command line of ``tools/benchmark.py NAME``.

    Args:
        name: Its name.
        description: Shown as it is written.
    """
    return argparse.ArgumentParser(
        prog=f'benchmark.py {name}',
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format rows as a Markdown table."""
    lines = [titles, ['---'] * len(titles), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
