"""The page in a browser: shown whole, wide and narrow, day and night."""

import pytest
from PIL import Image

from must_mm.adapt.report import CURVES, write_report
from must_mm.adapt.result import Evaluation
from tests.adapt.results import prediction, two_images
from tests.adapt.test_report import HOSTILE
from tests.browser import (
    CUT_LABELS,
    WORST_CONTRAST,
    images,
    overflow,
    requests,
    show,
)


@pytest.fixture(scope='module')
def full(tmp_path_factory):
    """A page with all there can be: long, foreign and hostile names."""
    folder = tmp_path_factory.mktemp('full')
    modes = ['RGB', 'CMYK', 'P', 'L']
    for mode in modes:
        image = Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 50)
        image.convert(mode).save(folder / f'{mode}.tiff')
    classes = HOSTILE + [f'class {k}' for k in range(94)]
    count = len(classes)
    shown = [
        prediction(
            k,
            (k + 1) % count,
            name=f'{HOSTILE[k % len(HOSTILE)]}.tiff',
            path=folder / f'{modes[k % len(modes)]}.tiff',
        )
        for k in range(count)
    ]
    confusion = [[123_456] * count] * count
    result = two_images(
        classes=classes,
        predictions=shown,
        skipped={name: 'cut off ' * 9 for name in HOSTILE},
        evaluation=Evaluation(confusion, confusion),
        curves={
            **{
                name: [(k, 1 - k / 9999) for k in range(500)]
                for name in CURVES
            },
            'loss_mim': [(k, 123_456 / (k + 1)) for k in range(10)],
            'loss_align': [(k, 1.23e-4 / (k + 1)) for k in range(10)],
            'loss_fair': [(123_456 + k, 0.0231 + k / 1e5) for k in range(9)],
        },
        settings={'Load it': 'a = load()\n' + 'b(' + 'c' * 300 + ')'},
        versions={name: '1.0' for name in HOSTILE},
        seconds={'training': 3.0},
        warnings=HOSTILE,
    )
    write_report(result, folder / 'report.html')
    return folder / 'report.html'


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """A page with as little as there can be."""
    path = tmp_path_factory.mktemp('small') / 'report.html'
    write_report(two_images(), path)
    return path


def test_it_loads_without_complaint_or_connection(browser, full, small):
    for page, pictures in ((full, 24), (small, 0)):
        show(browser, page)
        assert browser.get_log('browser') == []
        shown = images(browser)
        assert len(shown) == pictures and all(shown)
        asked = [u for u in requests(browser) if not u.startswith('data:')]
        assert asked == [page.as_uri()]


@pytest.mark.parametrize('width', [320, 390, 1280])
def test_it_fits(browser, full, small, width):
    for page in (full, small):
        show(browser, page, width)
        assert overflow(browser, width) <= 0
        assert browser.execute_script(CUT_LABELS) == []


def test_day_and_night_are_legible(browser, full, small):
    colour = 'return getComputedStyle(document.body).backgroundColor'
    for page in (full, small):
        papers = set()
        for scheme in ('light', 'dark'):
            show(browser, page, scheme=scheme)
            papers.add(browser.execute_script(colour))
            ratio, where = browser.execute_script(WORST_CONTRAST)
            assert ratio >= 4.5, f'{scheme}: {ratio:.1f} in {where}'
        assert len(papers) == 2


def test_the_checks_notice_a_bad_page(browser, tmp_path):
    page = tmp_path / 'bad.html'
    page.write_text(
        '<!DOCTYPE html><meta name="viewport" content="width=device-width">'
        '<body style="background: #fff"><img src="gone.png">'
        '<p style="width: 500px; color: #999">grey</p>'
        '<script>console.error("oops")</script>'
    )
    show(browser, page, 320)
    assert 'oops' in str(browser.get_log('browser'))
    assert images(browser) == [0]
    assert (tmp_path / 'gone.png').as_uri() in requests(browser)
    assert overflow(browser, 320) > 100
    ratio, where = browser.execute_script(WORST_CONTRAST)
    assert ratio < 3 and 'grey' in where
