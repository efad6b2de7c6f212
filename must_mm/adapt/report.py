"""The page that shows a result."""

from pathlib import Path

from .result import Result


def write_report(result: Result, path: Path) -> None:
    """Write ``report.html``."""
    path.write_text(f'<title>{result.folder.name}</title>', encoding='utf-8')
