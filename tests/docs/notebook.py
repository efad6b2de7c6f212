"""Runs a notebook's cells here, and keeps its pictures.

``python -m tests.docs.notebook docs/notebooks/digits.md`` in the root of the
repository makes the pictures of the page anew.
"""

import sys
from pathlib import Path

import jupytext
import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402


def run(page: Path, changes: dict[str, str] | None = None) -> tuple:
    """Run the cells of a page, one after the other.

    Args:
        page: The notebook, Markdown.
        changes: Texts of the cells to replace, which must be there.

    Returns:
        The names that the cells leave, and the figures that they show.
    """
    changes = dict(changes or {})
    names, figures = {'__name__': '__main__'}, []
    shown = plt.show
    plt.show = lambda: figures.append(plt.gcf())
    try:
        for cell in jupytext.read(page).cells:
            if cell.cell_type != 'code':
                continue
            source = cell.source
            for old in [old for old in changes if old in source]:
                source = source.replace(old, changes.pop(old))
            exec(compile(source, str(page), 'exec'), names)
    finally:
        plt.show = shown
    assert not changes, f'not in {page}: {list(changes)}'
    return names, figures


if __name__ == '__main__':
    page = Path(sys.argv[1])
    for number, figure in enumerate(run(page)[1], 1):
        path = page.with_name(f'{page.stem}_{number}.png')
        figure.savefig(path, dpi=80, bbox_inches='tight')
        print(path)
