"""Labelling on the page: by clicks, by keys, sorted, kept, saved."""

import csv
import time

import pytest
from PIL import Image

from must_mm.adapt.report import write_report
from must_mm.adapt.result import ToReview, Trust
from tests.adapt.results import prediction, two_images
from tests.adapt.test_report import HOSTILE
from tests.browser import browser, overflow, show  # noqa: F401

CLASSES = ['ant', 'bee', 'bear', *HOSTILE]
NAMES = ['a, b.png', 'say "c".png', 'd.png', *HOSTILE]


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """Nine images to label; the least sure are last."""
    folder = tmp_path_factory.mktemp('labelling')
    Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 50).save(
        folder / 'a.png'
    )
    shown = [
        prediction(
            0, place % 3, 0.9 - place / 20, name=name, path=folder / 'a.png'
        )
        for place, name in enumerate(NAMES)
    ]
    review = [
        ToReview(image, [image.label, (image.label + 1) % 3, place % 9])
        for place, image in enumerate(shown)
    ]
    result = two_images(
        classes=CLASSES,
        predictions=shown,
        trust=Trust(runs=3, review=review, strangers=shown[:2]),
        out=folder,
    )
    write_report(result, folder / 'report.html')
    return folder / 'report.html'


@pytest.fixture
def opened(browser, page):  # noqa: F811
    """The page as it is opened first, nothing labelled."""
    show(browser, page)
    browser.execute_script('localStorage.clear()')
    browser.refresh()
    return browser


def card(driver, place: int):
    found = driver.find_elements('css selector', '#review-images > figure')
    return found[place]


def click(driver, place: int, button: int) -> None:
    """Press a button of a card, where the bar below does not cover it."""
    found = card(driver, place).find_elements('css selector', 'button')
    script = "arguments[0].scrollIntoView({block: 'center'})"
    driver.execute_script(script, found[button])
    found[button].click()


def press(driver, text: str) -> None:
    """Type into whatever has the focus."""
    driver.switch_to.active_element.send_keys(text)


def said(driver) -> list[str]:
    """What the cards say, in their order on the page."""
    return driver.execute_script(
        "return [...document.querySelectorAll('#review-images .said')]"
        '.map(node => node.textContent)'
    )


def saved(driver, folder) -> list[dict]:
    """Press the button and read the file that the browser writes."""
    driver.execute_cdp_cmd(
        'Browser.setDownloadBehavior',
        dict(behavior='allow', downloadPath=str(folder)),
    )
    driver.find_element('id', 'review-save').click()
    path = folder / 'review.csv'
    for _ in range(200):
        if path.is_file():
            break
        time.sleep(0.05)
    with path.open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def test_clicks_label_and_take_back(opened, tmp_path):
    buttons = card(opened, 0).find_elements('css selector', 'button')
    assert buttons[-1].text.endswith('none')
    click(opened, 0, 1)
    click(opened, 1, -1)
    click(opened, 2, 0)
    click(opened, 2, 0)  # a second time takes it back
    assert said(opened)[:3] == [
        'bee', 'of none of the classes', 'not labelled',
    ]  # fmt: skip
    count = opened.find_element('id', 'review-count').text
    assert count == '2 of 9 labelled'
    assert buttons[1].get_attribute('aria-pressed') == 'true'
    assert saved(opened, tmp_path) == [
        dict(path='a, b.png', label='bee'),
        dict(path='say "c".png', label='-'),
    ]


def test_keys_label_without_a_mouse(opened, tmp_path):
    from selenium.webdriver.common.keys import Keys

    opened.execute_script('arguments[0].focus()', card(opened, 0))
    press(opened, '1')  # and goes on to the next
    press(opened, '0')
    press(opened, 'bea')  # bee begins otherwise
    press(opened, Keys.ENTER)
    press(opened, Keys.ARROW_LEFT)
    assert said(opened)[:3] == ['ant', 'of none of the classes', 'bear']
    press(opened, Keys.DELETE)
    press(opened, Keys.ARROW_RIGHT)
    press(opened, Keys.ARROW_RIGHT)
    press(opened, '2')
    press(opened, 'b')  # bee or bear
    press(opened, Keys.ENTER)
    wrong = opened.switch_to.active_element
    assert wrong.get_attribute('aria-invalid') == 'true'
    press(opened, Keys.ESCAPE)
    press(opened, 'BEE')
    press(opened, Keys.ENTER)
    assert said(opened)[:6] == [
        'ant', 'of none of the classes', 'not labelled',
        'not labelled', 'bear', 'bee',
    ]  # fmt: skip
    rows = saved(opened, tmp_path)
    assert [row['label'] for row in rows] == ['ant', '-', 'bear', 'bee']
    assert [row['path'] for row in rows] == [NAMES[k] for k in (0, 1, 4, 5)]


def test_hostile_names_are_saved_as_they_are(opened, tmp_path):
    for place in range(3, 9):
        click(opened, place, 2)
    rows = saved(opened, tmp_path)
    assert [row['path'] for row in rows] == HOSTILE
    assert [row['label'] for row in rows] == HOSTILE
    severe = [e for e in opened.get_log('browser') if e['level'] == 'SEVERE']
    assert not severe


def test_order_can_be_changed_and_labels_stay(opened):
    click(opened, 0, 0)
    sort = opened.find_element('id', 'review-sort')

    def places(by):
        opened.execute_script(
            'arguments[0].value = arguments[1];'
            "arguments[0].dispatchEvent(new Event('change'))",
            sort,
            by,
        )
        return opened.execute_script(
            "return [...document.getElementById('review-images').children]"
            '.map(node => Number(node.dataset.place))'
        )

    assert places('sure') == list(range(9))[::-1]
    assert places('class') == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert [NAMES[k] for k in places('file')] == sorted(NAMES)
    assert places('useful') == list(range(9))
    assert said(opened)[0] == 'ant'


def test_labels_are_kept_when_the_page_is_opened_again(opened, tmp_path):
    click(opened, 4, 0)
    opened.refresh()
    assert said(opened)[4] == 'bee'
    assert [row['label'] for row in saved(opened, tmp_path)] == ['bee']


@pytest.mark.parametrize('width', [320, 1280])
def test_it_fits_and_can_be_touched(opened, page, width):
    show(opened, page, width)
    assert overflow(opened, width) <= 0
    heights = opened.execute_script(
        "return [...document.querySelectorAll('#review button')]"
        '.map(button => button.getBoundingClientRect().height)'
    )
    assert min(heights) >= 30  # pixels; WCAG asks 24


def test_without_scripts_the_list_is_the_way(browser, page):  # noqa: F811
    browser.execute_cdp_cmd(
        'Emulation.setScriptExecutionDisabled', dict(value=True)
    )
    try:
        browser.get(page.as_uri())
        text = browser.find_element('id', 'review').text
    finally:
        browser.execute_cdp_cmd(
            'Emulation.setScriptExecutionDisabled', dict(value=False)
        )
    assert 'column label' in text and 'Save' not in text
