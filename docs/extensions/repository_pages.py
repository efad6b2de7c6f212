"""Pages that lie elsewhere in the repository, and links into it.

Links of a page lead to files, as where the repository is browsed. On the site
those to a module lead to its documentation, those to a page of
:data:`ELSEWHERE` to where the site has it; other files come along.
"""

import os
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent
#: Where in the repository, and where on the site.
ELSEWHERE = {
    'CHANGELOG.md': 'repository/changelog.md',
    'CONTRIBUTING.md': 'repository/contributing.md',
    'benchmarks/README.md': 'repository/figures.md',
    'benchmarks/accuracy/README.md': 'repository/accuracy.md',
    'benchmarks/performance.md': 'repository/performance.md',
    'configs/mae_ct/README.md': 'recipes/mae_ct.md',
    'configs/must/README.md': 'recipes/must.md',
}
README = ROOT / 'README.md'
_LINK = re.compile(r'\[([^\]\[]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)')


def with_links_of_site(text: str, source: Path, page: Path) -> str:
    """Turn the links of a page into those of the site.

    Args:
        text: The page.
        source: Its file in the repository.
        page: Its file on the site.
    """

    def link(found: re.Match) -> str:
        label, path, anchor = found.groups(default='')
        target = (source.parent / path).resolve()
        name = target.relative_to(ROOT)
        if name.parts[0] == 'must_mm' and target.suffix in ('', '.py'):
            module = '.'.join(name.with_suffix('').parts)
            return f'{{py:mod}}`{label.strip("`")} <{module}>`'
        if target == README:
            target = DOCS / 'index.md'
        target = DOCS / ELSEWHERE.get(name.as_posix(), target)
        return f'[{label}]({os.path.relpath(target, page.parent)}{anchor})'

    # code in square brackets, called, would look like a link
    parts = re.split(r'(```.*?```)', text, flags=re.DOTALL)
    parts[::2] = [_LINK.sub(link, part) for part in parts[::2]]
    return ''.join(parts)


def bring_pages(_app) -> None:
    """Copy the pages of :data:`ELSEWHERE` to where the site has them."""
    for source, place in ELSEWHERE.items():
        source, page = ROOT / source, DOCS / place
        text = with_links_of_site(source.read_text(), source, page)
        page.parent.mkdir(exist_ok=True)
        if not page.is_file() or page.read_text() != text:
            page.write_text(text)


def adapt_links(app, docname: str, source: list[str]) -> None:
    """Turn the links of a page of the documentation's own.

    The README stands where the first page leads to it.
    """
    page = Path(app.env.doc2path(docname))
    if docname == 'index':
        app.env.note_dependency(README)
        text = with_links_of_site(README.read_text(), README, page)
        source[0] = source[0].replace('[README](../README.md)', text, 1)
        return
    if page.relative_to(DOCS).as_posix() not in ELSEWHERE.values():
        source[0] = with_links_of_site(source[0], page, page)


def setup(app) -> None:
    """Bring pages before Sphinx looks for them, adapt links as it reads."""
    app.connect('builder-inited', bring_pages)
    app.connect('source-read', adapt_links)
