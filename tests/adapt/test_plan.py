"""How many runs there are, how long they take, and what is said of it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from must_mm.adapt.cost import Cost
from must_mm.adapt.plan import Plan
from must_mm.adapt.settings import Machine


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
    assert plan(7200)._runs(task()) == '1: 3 would take 8.0 h'
    assert plan(7200)._runs(task(1)) == '1'


def test_a_correction_is_one_training():
    found = replace(plan(100, 2), corrects=True)
    assert found.seconds(3) == pytest.approx(100)
    assert found._runs(task(3)).startswith('none: ')
