"""The page: complete, bounded, self-contained, whatever the names hold."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from must_mm.adapt import report
from must_mm.adapt.report import render, write_report
from must_mm.adapt.result import Bins, Evaluation, ToReview, Trust
from tests.adapt.results import prediction, two_images

#: Elements that are never closed.
VOID = {'meta', 'link', 'br', 'img', 'input'}
HOSTILE = [
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "'&amp; {{ 7 * 7 }}",
    'نملة حمراء',
    '\N{RIGHT-TO-LEFT OVERRIDE}gnp.tna',
    'x' * 300,
]


class Page(HTMLParser):
    """What a page holds: tags with their attributes, and text by section."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.open, self.sections = [], [], ['']
        self.feed(html)
        self.close()
        assert not self.open, f'never closed: {self.open}'

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == 'h2':
            self.sections.append('')

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f'{tag} was not the innermost'

    def handle_data(self, data):
        if self.open and self.open[-1] not in ('style', 'script'):
            self.sections[-1] += f'{data} '

    def values(self, tag: str, key: str) -> list[str]:
        return [a[key] for t, a in self.tags if t == tag and key in a]

    def section(self, start: str) -> str:
        """Return the text of the section whose heading starts so."""
        found = [s for s in self.sections if s.startswith(start)]
        assert len(found) == 1, start
        return ' '.join(found[0].split())


def test_sections_are_in_order():
    page = Page(
        render(
            two_images(
                warnings=['most images are ants'],
                skipped={'cut.png': 'image file is truncated'},
                evaluation=Evaluation([[1, 1], [1, 1]], [[2, 0], [1, 1]]),
                curves={'loss_st': [(1, 2.0), (2, 1.0)], 'lr': [(1, 0.1)]},
                settings={'Model': 'ViT-B-16'},
                versions={'Python': '3.11'},
                seconds={'training': 61.0, 'predictions': 2.0},
            )
        )
    )
    text = ' '.join(' '.join(page.sections).split())
    places = [
        text.index(part)
        for part in (
            'accuracy rose from',
            'most images are ants',
            'Images per class',
            'Self-training loss',
            'Changed class, most confident first',
            'Classes still confused',
            'image file is truncated',
            'ViT-B-16',
            '1 min 1 s',
            '1 min 3 s',  # the sum
            'Python',
        )
    ]
    assert places == sorted(places)
    assert 'lr' not in page.section('While training')


@pytest.mark.onedl
def test_the_smallest_result_makes_sense():
    page = Page(render(two_images()))
    assert '0 of 2 images changed class' in page.sections[0]
    assert 'No labels were given' in page.sections[0]
    assert 'No curves were logged' in page.section('While training')
    assert 'No image changed' in page.section('Changed class, most')
    assert 'None: on every image' in page.section('Close calls')
    headings = [' '.join(s.split()) for s in page.sections]
    for absent in ('Before you trust', 'Skipped', 'What was run'):
        assert not any(s.startswith(absent) for s in headings)


def test_no_prediction_is_refused(tmp_path):
    with pytest.raises(ValueError, match='predictions is empty'):
        write_report(two_images(predictions=[]), tmp_path / 'report.html')
    assert not list(tmp_path.iterdir())


def test_confused_pairs_have_their_counts():
    evaluation = Evaluation([[0, 3], [4, 5]], [[3, 0], [2, 7]])
    page = Page(render(two_images(evaluation=evaluation)))
    assert ' after bee ant 4 2 ' in page.section('Classes still confused')
    perfect = Evaluation([[1, 0], [0, 1]], [[1, 0], [0, 1]])
    page = Page(render(two_images(evaluation=perfect)))
    assert 'None: every' in page.section('Classes still confused')


def test_close_calls_are_named_so():
    close = prediction(0, 1, 0.51, runner_up=0, runner_up_confidence=0.49)
    page = Page(render(two_images(predictions=[close])))
    section = page.section('Close calls')
    assert 'less than 20 points' in section
    assert ' images ant bee 1 ' in section


def test_names_stay_text(tmp_path):
    """Markup in names of classes and files, and everything else, is inert."""
    Image.new('RGB', (8, 8), 'red').save(tmp_path / 'a.png')
    images = [
        prediction(0, k, name=name, path=tmp_path / 'a.png')
        for k, name in enumerate(HOSTILE)
    ]
    texts = dict.fromkeys(HOSTILE, HOSTILE[0])
    result = two_images(
        classes=HOSTILE,
        predictions=images,
        skipped=texts,
        settings=texts,
        versions=texts,
        warnings=HOSTILE,
        seconds=dict.fromkeys(HOSTILE, 1.0),
    )
    page = Page(render(result))
    tags = {tag for tag, _ in page.tags}
    assert 'script' not in tags
    attributes = {key for _, attrs in page.tags for key in attrs}
    assert not any(key.startswith('on') for key in attributes)
    text = ''.join(page.sections)
    for name in HOSTILE:
        # counts, warnings, skipped, settings, versions and times at least
        assert text.count(name) >= 6
    alts = page.values('img', 'alt')
    assert set(alts) == {f'{n}, now {n}' for n in HOSTILE[1:]}


def test_a_file_name_that_is_not_unicode_is_shown(tmp_path):
    # what os.listdir returns for b'caf\xe9.png'
    path = tmp_path / 'report.html'
    write_report(two_images(skipped={'caf\udce9.png': 'cut off'}), path)
    assert r'caf\udce9.png' in path.read_text(encoding='utf-8')


def test_the_page_refers_to_nothing_outside(tmp_path):
    Image.new('RGB', (8, 8), 'red').save(tmp_path / 'a.png')
    changed = prediction(0, 1, path=tmp_path / 'a.png')
    curves = {name: [(1, 0.5), (2, 0.6)] for name in report.CURVES}
    html = render(two_images(predictions=[changed] * 2, curves=curves))
    page = Page(html)
    sources = page.values('img', 'src') + page.values('link', 'href')
    assert len(sources) == 3
    assert all(source.startswith('data:') for source in sources)
    rest = re.sub(r'data:image/jpeg;base64,[\w+/=]+', '', html)
    assert not re.search(r'https?:|//|@import|url\(|srcset|<script', rest)
    charts = [a for tag, a in page.tags if tag == 'svg']
    assert len(charts) == len(report.CURVES)
    assert all('at step 2' in a['aria-label'] for a in charts)


def test_a_picture_that_is_gone_does_not_lose_the_report():
    page = Page(render(two_images(predictions=[prediction(0, 1)])))
    assert 'no longer readable' in page.section('Changed class, most')
    assert not page.values('img', 'src')


def test_size_is_bounded(tmp_path):
    """A hundred thousand images, a thousand classes, long curves."""
    Image.effect_noise((400, 400), 90).save(tmp_path / 'noise.png')
    path = tmp_path / 'noise.png'
    images = [
        prediction(k % 1000, (k + 1) % 1000, name=f'{k:060}.png', path=path)
        for k in range(100_000)
    ]
    result = two_images(
        classes=[f'class {k}' for k in range(1000)],
        predictions=images,
        skipped={f'{k:060}.png': 'cut off' for k in range(20_000)},
        curves={
            name: [(step, 0.5) for step in range(20_000)]
            for name in report.CURVES
        },
    )
    html = render(result)
    # noise is the worst case of JPEG: some 40 kB each
    assert len(html) < 1_500_000
    page = Page(html)
    assert len(page.values('img', 'src')) == report.CHANGES
    assert '24 of the 100,000 images' in page.section('Changed class, most')
    assert 'and 970 more classes' in page.section('Images per class')
    assert 'class 999' in page.section('Images per class')
    assert 'and 19,000 more' in page.section('Skipped images')


def test_what_to_look_at_comes_first():
    """Lost classes, images to label, strangers, copies; then the details."""
    images = [prediction(0, 0, name=f'{k}.png') for k in range(20)]
    trust = Trust(
        runs=3,
        review=[ToReview(images[0], [0, 1])],
        strangers=images[3:5],
        duplicates=[images[5:8]],
    )
    page = Page(render(two_images(predictions=images, trust=trust)))
    look = page.section('What to look at')
    assert '1 class has hardly any image: bee (0)' in look
    assert '1 images to label' in look and '2 near duplicates' in look
    assert 'none of the classes' in look
    text = ' '.join(' '.join(page.sections).split())
    places = [
        text.index(part)
        for part in ('What to look at', 'Label these', '--labels ~/Downloads',
                     'Of none of the classes?', '1 group', '3 alike',
                     'How sure, by class', 'Images per class')
    ]  # fmt: skip
    assert places == sorted(places)
    assert '3 of 3 runs' in page.section('Label these')


def test_commands_can_be_pasted():
    """What was saved lies where the browser puts it."""
    image = prediction(0, 0)
    result = two_images(
        trust=Trust(review=[ToReview(image, [0, 1])]),
        out=Path('/with space/out put'),
    )
    page = Page(render(result)).section('Label these')
    assert "--resume '/with space/out put' --labels ~/Downloads/" in page
    assert "--labels '/with space/out put/review.csv'" in page
    assert 'usually in Downloads' in page


def test_labels_that_teach_measure_nothing():
    labelled = replace(prediction(0, 0), note='labelled')
    for changes in (
        dict(predictions=[labelled]),
        dict(settings={'labels by hand': 'elsewhere'}),
    ):
        page = Page(render(two_images(**changes)))
        assert 'used for teaching, not for measuring' in page.sections[0]
        assert 'No labels were given' not in page.sections[0]


def test_small_folders_lose_no_class():
    """Of nine images in two classes, none of one may be chance."""
    images = [prediction(0, 0) for _ in range(9)]
    page = Page(render(two_images(predictions=images)))
    assert 'hardly any' not in ' '.join(page.sections)


def test_names_stay_text_where_images_are_labelled():
    images = [prediction(0, k, name=n) for k, n in enumerate(HOSTILE)]
    trust = Trust(
        review=[ToReview(p, [p.label, 0, 1]) for p in images],
        strangers=images,
        duplicates=[images],
        reliability=[Bins(name, [0.5], [1.0], [3]) for name in HOSTILE],
    )
    html = render(two_images(classes=HOSTILE, predictions=images, trust=trust))
    page = Page(html)
    assert [a for t, a in page.tags if t == 'script'] == [
        dict(type='application/json', id='review-data'), {},
    ]  # fmt: skip
    data = html.partition('id="review-data">')[2].partition('</script>')[0]
    assert '<' not in data and json.loads(data)['classes'] == HOSTILE
    attributes = {key for _, attrs in page.tags for key in attrs}
    assert not any(key.startswith('on') for key in attributes)
    # the image and the button of each, whatever the names hold
    assert page.values('button', 'data-label').count(HOSTILE[1]) >= 2


def test_reliability_needs_labels():
    bins = Bins('all classes', [0.35, 0.95], [0.5, 0.9], [10, 30])
    trust = Trust(reliability=[bins, Bins('ant', [0.9], [0.9], [40])])
    page = Page(render(two_images(trust=trust)))
    section = page.section('How sure, by class')
    assert 'all classes 40 images, 7.5 points apart' in section
    assert 'ant 40 images, 0.0 points apart' in section
    plain = Page(render(two_images())).section('How sure, by class')
    assert 'Mean confidence' in plain and 'apart' not in plain


def test_a_folder_of_20_000_makes_no_large_page(tmp_path):
    """With all there is to look at: noise, the worst case of JPEG."""
    Image.effect_noise((400, 400), 90).save(tmp_path / 'noise.png')
    path = tmp_path / 'noise.png'
    images = [
        prediction(k % 100, (k + 1) % 100, name=f'{k:060}.png', path=path)
        for k in range(20_000)
    ]
    trust = Trust(
        runs=3,
        review=[ToReview(p, [p.label, 0, 1]) for p in images[:20]],
        strangers=images,
        duplicates=[images[k : k + 2] for k in range(0, 20_000, 2)],
    )
    result = two_images(
        classes=[f'class {k}' for k in range(100)],
        predictions=images,
        trust=trust,
    )
    html = render(result)
    assert len(html) < 6_000_000
    pictures = 20 + report.STRANGERS + 2 * report.COPIES + report.CHANGES
    assert len(Page(html).values('img', 'src')) == pictures
