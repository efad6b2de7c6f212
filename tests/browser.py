"""Headless Chromium for the tests of pages.

Debian's ``chromium`` and ``chromium-driver``, or Google's, through selenium;
what is missing is said, and the tests are skipped.
"""

import json
import shutil

import pytest

#: Commands, of which one is enough, and the package of the first.
PROGRAMS = {
    ('chromium', 'google-chrome', 'chromium-browser'): 'chromium',
    ('chromedriver',): 'chromium-driver',
}
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


@pytest.fixture(scope='session')
def browser():
    """A browser that is offline and keeps logs."""
    webdriver = pytest.importorskip(
        'selenium.webdriver', reason='selenium is missing: pip install it'
    )
    program, driver = (
        next(filter(None, map(shutil.which, names)), None)
        for names in PROGRAMS
    )
    if not (program and driver):
        packages = ' '.join(PROGRAMS.values())
        pytest.skip(f'no browser to test with: apt-get install {packages}')
    options = webdriver.ChromeOptions()
    options.binary_location = program
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
        options=options, service=webdriver.ChromeService(driver)
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
