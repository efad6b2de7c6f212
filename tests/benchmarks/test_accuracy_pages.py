"""The figures of README and docs are those of the files they come from."""

import re

import pytest

from benchmarks.accuracy import command, pages
from benchmarks.resumable import read_results
from must_mm.utils.paths import config_path
from tests.tiny import ROOT

README = (ROOT / 'README.md').read_text()
AGAIN = 'run: python tools/benchmark.py accuracy . --pages'


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip('|').split('|')]


def kept() -> tuple[list[dict], list[dict]]:
    return read_results(pages.RESULTS), read_results(pages.TAUGHT)


def result(setting, start, student, task='digits', of_start=70.0):
    judged = {
        who: {'test': dict(accuracy=value, lost=0)}
        for who, value in (('start', of_start), ('student', student))
    }
    return dict(task=task, setting=setting, start=start, draw=0, judged=judged)


def test_readme_has_the_kept_results():
    assert pages.with_rows(README, *kept()) == README, AGAIN


def test_the_page_has_the_kept_results():
    page = (ROOT / 'docs' / 'accuracy.md').read_text()
    assert pages.with_summary(page, *kept()) == page, AGAIN


def test_the_page_of_all_runs_has_them():
    page = (ROOT / pages.ALL_RUNS).read_text()
    corrected, stated = map(read_results, (pages.CORRECTED, pages.STATED))
    found = pages.with_tables(page, *kept(), corrected, stated)
    assert found == page, AGAIN
    page = (ROOT / 'docs' / 'adapt.md').read_text()
    assert pages.with_corrections(page, corrected) == page, AGAIN


def test_a_row_says_mean_spread_best_and_loss():
    runs = [
        result('published', 0, 60.0),
        result('balanced', 0, 94.0),
        result('balanced', 1, 96.0, of_start=72.0),
        result('balanced', 0, 10.0, task='mnist'),
    ]
    taught = [dict(task='digits', test=dict(taught=94.5))]
    lines = pages.summary_table(runs, taught).splitlines()
    assert cells(lines[2]) == [
        'digits', '71.0', '', '60.0 (worse)', '**95.0 ± 1.4**', '94.0',
        '94.5', '94.5',
    ]  # fmt: skip
    assert cells(lines[3])[4:] == ['**10.0** (worse)', '10.0', '', '']
    assert cells(pages.readme_row('handwritten digits', runs, taught)) == [
        'handwritten digits', '71.0', '', '60.0 (worse)', '**95.0 ± 1.4**',
        '94.5', '[ours](docs/accuracy.md), 1–2 runs',
    ]  # fmt: skip


def test_the_command_writes_the_pages(tmp_path, monkeypatch):
    (tmp_path / 'docs').mkdir()
    rows = '\n'.join(f'| {name} | ? |' for name in pages.ROWS)
    (tmp_path / 'README.md').write_text(f'before\n{rows}\nafter\n')
    marks = '<!-- tables -->\nTest parts:\n\n?\n<!-- /tables -->\n'
    marks += '<!-- prior -->\n?\n<!-- /prior -->\n'
    marks += '<!-- taught -->\n?\n<!-- /taught -->\n'
    marks += '<!-- corrections -->\n?\n<!-- /corrections -->\n'
    marks += '<!-- variants -->\n?\n<!-- /variants -->'
    every = tmp_path / pages.ALL_RUNS
    every.parent.mkdir(parents=True)
    every.write_text(marks)
    summary = tmp_path / 'docs' / 'accuracy.md'
    summary.write_text('<!-- summary -->\n?\n<!-- /summary -->\n')
    curves = tmp_path / 'docs' / 'adapt.md'
    curves.write_text('<!-- corrections -->\n?\n<!-- /corrections -->\n')
    monkeypatch.setattr(pages, 'REPOSITORY', tmp_path)
    command.main([str(tmp_path), '--pages'])
    readme = (tmp_path / 'README.md').read_text()
    assert readme.startswith('before\n') and readme.endswith('after\n')
    assert '?' not in readme
    page = every.read_text()
    assert '| digits | balanced |' in page and 'Validation' not in page
    assert '| digits | ' in summary.read_text()
    assert '| digits | review | ' in curves.read_text()


def test_variants_stand_beside_the_balanced_runs():
    def run(setting, start, student, task='digits'):
        one = result(setting, start, student, task)
        one['judged']['student']['val'] = dict(accuracy=student, lost=0)
        return one

    runs = [
        run('balanced', 0, 90.0),
        run('balanced', 1, 92.0),
        run('half', 0, 91.0),
        run('half', 1, 95.0),
        run('anchor', 0, 80.0),
        run('anchor', 5, 10.0),  # without its pair
        run('published', 0, 70.0),
    ]
    lines = pages.variants_table(runs).splitlines()
    assert lines[0] == '| variant | digits |'
    assert lines[2:] == [
        '| half | 93.0 (+2.0) |', '| anchor | 80.0 (-10.0) |',
    ]  # fmt: skip


def test_a_page_without_its_place_is_named():
    with pytest.raises(ValueError, match='0 rows "handwritten digits"'):
        pages.with_rows('', [result('balanced', 0, 90.0)], [])
    with pytest.raises(ValueError, match='no <!-- tables -->'):
        pages.with_tables('', [], [], [], [])


def test_photographs_are_those_of_their_page():
    row = re.search(r'^\| photographs .*$', README, re.MULTILINE)[0]
    _, start, alone, _, even, *_ = cells(row.replace('**', ''))
    page = (ROOT / 'docs' / 'backbones.md').read_text()
    for said in (
        f'| start | | – | {start} |',
        f'| self-training | student | 1 | {alone} |',
        f'| balanced | student | 2 | {even} |',
    ):
        assert said in page


@pytest.mark.parametrize('tower', ['B/16', 'L/14'])
def test_rows_of_the_paper_are_those_of_the_recipe(tower):
    row = re.search(rf'^\| ImageNet, CLIP ViT-{tower} .*$', README, re.M)[0]
    _, start, _, must, *_, who = cells(row)
    assert who == 'paper, not reproduced'
    name = f'must/vit-{tower.replace("/", "").lower()}_imagenet.py'
    assert f'CLIP {start}, MUST {must}\n' in config_path(name).read_text()
