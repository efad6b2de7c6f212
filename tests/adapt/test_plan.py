"""How many runs there are, how long they take, and what is said of it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from must_mm.adapt.cost import Cost
from must_mm.adapt.plan import Plan, look_at_folder, skipped_lines
from must_mm.adapt.settings import Machine
from must_mm_cli.options import Options


def plan(seconds: float, devices: int = 1) -> Plan:
    """One run takes so many seconds: a step of an image takes one."""
    cfg = dict(
        train_cfg=dict(max_epochs=1), train_dataloader=dict(num_workers=0)
    )
    # a prediction is a quarter of a step, and there are two
    cost = Cost(0, 0, step=1 / 1.5, load=0, load_test=0)
    machine = Machine('cuda', 0, 4, devices=devices)
    return Plan(cfg, cost, machine, trained=round(seconds))


def task(runs=None):
    return SimpleNamespace(options=SimpleNamespace(runs=runs, seed=5))


@pytest.mark.parametrize(
    ('seconds', 'devices', 'runs'),
    [(899, 1, 3), (900, 1, 1), (1199, 2, 3), (1200, 2, 1), (1799, 3, 3)],
)
def test_three_runs_if_all_take_less_than_an_hour(seconds, devices, runs):
    found = plan(seconds, devices)
    assert found.runs(task()) == runs
    assert found.runs(task(2)) == 2
    at_a_time = -(-3 // devices)
    assert found.seconds(3) == pytest.approx((at_a_time + 1) * seconds)
    assert found.seconds(1) == pytest.approx(seconds)


def test_what_is_said_of_runs():
    assert plan(100)._runs(task()) == (
        '3, from seed 5 on, one after another, then one that they teach, as '
        'all take less than an hour'
    )
    assert plan(100, 2)._runs(task(4)) == (
        '4, from seed 5 on, 2 at a time, one a GPU, then one that they teach'
    )
    assert plan(7200)._runs(task()) == '1 run (3 runs would take 8.0 h)'
    assert plan(7200)._runs(task(1)) == '1'


@pytest.mark.parametrize(
    ('given', 'ways'),
    [
        ({}, '--model ViT-B-32 or fewer --epochs'),
        (dict(runs=3), '--model ViT-B-32 or --runs 1 or fewer --epochs'),
        (dict(model='ViT-B-32'), 'fewer --epochs'),
        (dict(pretrained='mine.pt'), 'fewer --epochs'),
    ],
)
def test_a_long_run_without_a_gpu_is_called_slow(given, ways):
    slow = SimpleNamespace(options=Options('photos', 'a, b', **given))
    found = plan(7200)  # one run, if nothing else is asked for
    assert found._slow(slow, 4 * 3600) == ''
    found = replace(found, machine=replace(found.machine, device='cpu'))
    assert found._slow(slow, 2 * 3600) == ''
    said = found._slow(slow, 4 * 3600)
    assert said == f'; slow without a GPU: try {ways}'


def test_the_first_reasons_are_shown():
    skipped = {f'{k}.png': 'cut off' for k in range(7)}
    lines = skipped_lines(skipped)
    assert lines[0] == 'skipped 0.png: cut off' and len(lines) == 6
    assert lines[-1] == 'and 2 more, see report.html'
    assert len(skipped_lines(dict(list(skipped.items())[:5]))) == 5


def test_files_that_are_not_looked_at(tmp_path):
    for name in ('1.cr2', '2.CR2', 'film.mp4', 'readme'):
        (tmp_path / name).write_text('')
    Image.new('RGB', (4, 4)).save(tmp_path / 'a.png')
    found = look_at_folder(tmp_path, tmp_path / 'out', 1, needed=1)
    assert found.names == ['a.png'] and not found.skipped
    assert found.notes == (
        'not looked at: 2 .cr2, 1 .mp4, 1 without a suffix; convert RAW '
        'photos to JPEG',
    )


def test_a_correction_is_one_training():
    found = replace(plan(100, 2), corrects=True)
    assert found.seconds(3) == pytest.approx(100)
    assert found._runs(task(3)).startswith('none: ')
