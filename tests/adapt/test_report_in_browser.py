"""The page in headless Chromium: shown whole, wide and narrow, day and night.

Debian's ``chromium`` and ``chromium-driver`` through selenium; what is missing
is said, and the tests are skipped.
"""

import json
import shutil

import pytest
from PIL import Image

from must_mm.adapt.report import CURVES, write_report
from must_mm.adapt.result import Evaluation
from tests.adapt.results import prediction, two_images
from tests.adapt.test_report import HOSTILE

PACKAGES = {'chromium': 'chromium', 'chromedriver': 'chromium-driver'}
#: Worst contrast of shown text with what is behind it, as WCAG defines it.
WORST_CONTRAST = """
const rgb = colour => colour.match(/[\\d.]+/g).map(Number);
const luminance = colour => {
  const [r, g, b] = rgb(colour).map(v => v / 255).map(
    v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = node => {
  for (; node; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor;
    if (rgb(colour)[3] !== 0) return colour;
  }
};
let worst = [Infinity, ''];
for (const node of document.body.querySelectorAll('*')) {
  const own = [...node.childNodes].some(
    child => child.nodeType === 3 && child.data.trim());
  const shape = node.matches('.swatch');
  if (!own && !shape) continue;
  const style = getComputedStyle(node);
  const front = shape ? style.backgroundColor
    : node.ownerSVGElement ? style.fill : style.color;
  const a = luminance(front);
  const b = luminance(behind(shape ? node.parentElement : node));
  let ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (shape) ratio *= 4.5 / 3;  // WCAG asks 3 of shapes, 4.5 of text
  if (ratio < worst[0]) worst = [ratio, node.outerHTML.slice(0, 200)];
}
return worst;
"""
#: Numbers of charts that stick out of their chart.
CUT_LABELS = """
return [...document.querySelectorAll('svg text')].filter(text => {
  const box = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal;
  return box.x < 0 || box.x + box.width > view.width
    || box.y < 0 || box.y + box.height > view.height;
}).map(text => text.textContent);
"""


@pytest.fixture(scope='module')
def browser():
    """A browser that is offline and keeps logs."""
    webdriver = pytest.importorskip(
        'selenium.webdriver', reason='selenium is missing: pip install it'
    )
    missing = [PACKAGES[name] for name in PACKAGES if not shutil.which(name)]
    if missing:
        names = ' '.join(missing)
        pytest.skip(f'no browser to test with: apt-get install {names}')
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which('chromium')
    for option in (
        'headless=new',
        'no-sandbox',  # which root does not get
        'disable-dev-shm-usage',
        'disable-gpu',
    ):
        options.add_argument(f'--{option}')
    logs = {'browser': 'ALL', 'performance': 'ALL'}
    options.set_capability('goog:loggingPrefs', logs)
    driver = webdriver.Chrome(
        options=options,
        service=webdriver.ChromeService(shutil.which('chromedriver')),
    )
    driver.execute_cdp_cmd('Network.enable', {})
    driver.execute_cdp_cmd(
        'Network.emulateNetworkConditions',
        dict(
            offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        ),
    )
    yield driver
    driver.quit()


def show(browser, page, width=1280, scheme='light'):
    """Load a page in a window of a width, everything unfolded."""
    browser.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride',
        dict(
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=width < 600,
        ),
    )
    browser.execute_cdp_cmd(
        'Emulation.setEmulatedMedia',
        dict(features=[dict(name='prefers-color-scheme', value=scheme)]),
    )
    for log in ('browser', 'performance'):
        browser.get_log(log)  # and forget it
    browser.get(page.as_uri())
    browser.execute_script(
        "document.querySelectorAll('details').forEach(d => d.open = true)"
    )


def requests(browser) -> list[str]:
    """What was asked of anyone since the page was loaded."""
    events = (
        json.loads(entry['message'])['message']
        for entry in browser.get_log('performance')
    )
    return [
        event['params']['request']['url']
        for event in events
        if event['method'] == 'Network.requestWillBeSent'
    ]


def images(browser) -> list[int]:
    """Width of every image, 0 for one that is not shown."""
    return browser.execute_script(
        'return [...document.images].map(i => i.complete && i.naturalWidth)'
    )


def overflow(browser, width: int) -> int:
    """How many pixels of the page stick out of the window's width."""
    script = 'return document.documentElement.scrollWidth'
    return browser.execute_script(script) - width


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
