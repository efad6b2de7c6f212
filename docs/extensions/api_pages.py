"""A page for each room of the package, and one for the names to import.

Written from the packages as they are, so that no module can be forgotten.
"""

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

PACKAGES = ('must_mm', 'must_mm_cli')
#: Packages whose names are meant to be imported from them.
FACADES = (
    'must_mm',
    'must_mm.adapt',
    'must_mm.datasets',
    'must_mm.evaluation',
)


def summary(thing) -> str:
    """Return the first sentence of a docstring, on one line."""
    paragraph = inspect.getdoc(thing).split('\n\n')[0]
    return ' '.join(paragraph.split())


def heading(text: str, line: str) -> str:
    """Return a heading, underlined."""
    text = text.replace('_', '\\_')
    return f'{text}\n{line * len(text)}'


def room_page(package: ModuleType) -> str:
    """Write the page of a package: every module with its public names."""
    name = package.__name__
    page = [heading(name, '='), f'.. automodule:: {name}']
    for module in pkgutil.iter_modules(package.__path__, f'{name}.'):
        if module.ispkg or module.name.endswith('.__main__'):
            continue
        page.append(heading(module.name, '-'))
        page.append(
            f'.. automodule:: {module.name}\n'
            '   :members:\n'
            '   :show-inheritance:'
        )
    return '\n\n'.join(page) + '\n'


def names_page(rooms: list[str]) -> str:
    """Write the first page: what to import, and all rooms."""
    page = [
        heading('API', '='),
        'What a config can name is registered by ``import must_mm`` and '
        'found by its name alone. For code, these names are imported from '
        'the package that heads them.',
    ]
    for facade in FACADES:
        page.append(heading(facade, '-'))
        package = importlib.import_module(facade)
        for name in sorted(package.__all__, key=str.lower):
            thing = getattr(package, name)
            where = f'{thing.__module__}.{thing.__qualname__}'
            page.append(f'* :py:obj:`{name} <{where}>`: {summary(thing)}')
    page.append(heading('Every module, by room', '-'))
    page.append('.. toctree::\n   :maxdepth: 1\n\n   ' + '\n   '.join(rooms))
    return '\n\n'.join(page) + '\n'


def write_pages(app) -> None:
    """Write all pages into ``api/``."""
    pages = {}
    for name in PACKAGES:
        package = importlib.import_module(name)
        pages[name] = room_page(package)
        for module in pkgutil.iter_modules(package.__path__, f'{name}.'):
            if module.ispkg:
                room = importlib.import_module(module.name)
                pages[module.name] = room_page(room)
    pages['index'] = names_page(list(pages))
    folder = Path(app.srcdir) / 'api'
    folder.mkdir(exist_ok=True)
    for old in folder.glob('*.rst'):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f'{name}.rst'
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def setup(app) -> None:
    """Write the pages before Sphinx looks for them."""
    app.connect('builder-inited', write_pages)
