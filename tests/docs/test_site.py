"""The documentation site: built without a warning, whole, found, legible."""

import importlib
import inspect
import pkgutil
import runpy
from html.parser import HTMLParser
from io import StringIO
from urllib.parse import unquote, urlsplit

import pytest
from selenium.webdriver.support.ui import WebDriverWait

import must_mm
from tests.browser import images, overflow, requests, show
from tests.tiny import ROOT

pytestmark = pytest.mark.slow
sphinx = pytest.importorskip('sphinx.application')
NAMES = ('must_mm', 'must_mm.adapt', 'must_mm.datasets', 'must_mm.evaluation')


def without(extension: str) -> list[str]:
    """The site's extensions, but for one."""
    found = runpy.run_path(str(ROOT / 'docs' / 'conf.py'))['extensions']
    return [name for name in found if name != extension]


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The site, built here: the package is imported already."""
    out = tmp_path_factory.mktemp('site')
    warnings = StringIO()
    app = sphinx.Sphinx(
        ROOT / 'docs',
        ROOT / 'docs',
        out,
        tmp_path_factory.mktemp('doctrees'),
        'html',
        status=None,
        warning=warnings,
        warningiserror=True,
        # a page a module, a third of the time
        confoverrides={'extensions': without('sphinx.ext.viewcode')},
    )
    app.build()
    assert app.statuscode == 0, warnings.getvalue()
    return out


class Page(HTMLParser):
    """Where a page leads, and what can be led to within it."""

    def __init__(self, path) -> None:
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors.add(attrs.get('id'))
        self.links += [
            attrs[key]
            for key in ('href', 'src')
            if attrs.get(key) and 'preconnect' not in attrs.get('rel', '')
        ]


def test_every_link_leads_somewhere(site):
    pages = {path: Page(path) for path in site.rglob('*.html')}
    assert len(pages) > 25
    lost, count = [], 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                # nothing of the site itself is fetched from elsewhere
                assert parts.scheme in ('http', 'https', 'mailto', 'data')
                continue
            count += 1
            target = path
            if parts.path:
                target = (path.parent / unquote(parts.path)).resolve()
            anchor = unquote(parts.fragment)
            known = target.is_file() and (
                not anchor
                or target not in pages
                or anchor in pages[target].anchors
            )
            if not known:
                lost.append(f'{path.relative_to(site)}: {link}')
    assert not lost, '\n'.join(lost)
    assert count > 1000


def public(package: str) -> list[str]:
    """Every class and function that a package's modules define."""
    found = []
    path = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(path, f'{package}.'):
        if module.name.endswith('.__main__') or '.mim' in module.name:
            continue
        for name, thing in vars(importlib.import_module(module.name)).items():
            if (
                not name.startswith('_')
                and (inspect.isclass(thing) or inspect.isfunction(thing))
                and thing.__module__ == module.name
            ):
                found.append(f'{module.name}.{thing.__qualname__}')
    return found


def test_every_public_name_is_in_the_reference(site):
    anchors = set()
    for path in (site / 'api').glob('*.html'):
        anchors |= Page(path).anchors
    names = public('must_mm') + public('must_mm_cli')
    for package in NAMES:
        module = importlib.import_module(package)
        for name in module.__all__:
            thing = getattr(module, name)
            names.append(f'{thing.__module__}.{thing.__qualname__}')
    assert len(names) > 200
    missing = sorted(set(names) - anchors)
    assert not missing, 'no docstring: ' + ', '.join(missing)


@pytest.mark.parametrize('width', [360, 1280])
def test_it_fits_and_needs_no_network(browser, site, width):
    for name in ('index', 'method', 'adapt', 'recipes/must', 'api/index'):
        page = site / f'{name}.html'
        assert page.is_file()
        show(browser, page, width)
        assert browser.get_log('browser') == [], name
        assert all(images(browser)), name
        assert overflow(browser, width) <= 0, name
        asked = {urlsplit(link).scheme for link in requests(browser)}
        assert asked <= {'file', 'data'}, name


def test_search_works_without_a_network(browser, site):
    show(browser, site / 'search.html')
    browser.get((site / 'search.html').as_uri() + '?q=fairness')
    found = WebDriverWait(browser, 20).until(
        lambda driver: driver.execute_script(
            "const links = document.querySelectorAll('#search-results li a');"
            'return links.length ? [...links].map(a => a.href) : null'
        )
    )
    assert any('api/must_mm.models.html' in link for link in found)
    assert all(link.startswith(site.as_uri()) for link in found)


def test_version_is_the_packages(site):
    assert (
        f'must_mm {must_mm.__version__}' in (site / 'index.html').read_text()
    )
