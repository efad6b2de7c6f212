"""What the host tells of waiting, and what it is spared."""

import gc
from types import SimpleNamespace

import pytest
from mmpretrain.registry import HOOKS

from must_mm.engine import host
from must_mm.engine.host import FreezeGarbageHook, LoaderWaitHook
from tests.tiny import build


class Run:
    """Iterations that load and compute for some seconds each."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.shares, self.warned = [], []
        clock = SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr(host, 'time', clock)
        self.runner = SimpleNamespace(
            epoch=0,
            train_dataloader=SimpleNamespace(num_workers=3),
            logger=SimpleNamespace(warning=self.warned.append),
            message_hub=SimpleNamespace(
                update_scalar=lambda name, value: self.shares.append(value)
            ),
        )
        self.hook = LoaderWaitHook(window=4)
        self.hook.before_train(self.runner)

    def go(self, iterations: int, load: float, compute: float) -> None:
        for _ in range(iterations):
            self.now += load
            self.hook.before_train_iter(self.runner, 0)
            self.now += compute
            self.hook.after_train_iter(self.runner, 0)


def test_the_share_of_waiting(monkeypatch):
    run = Run(monkeypatch)
    run.go(1, load=100, compute=3)  # the loaders start
    run.go(3, load=1, compute=3)
    assert run.shares == [pytest.approx(3 / 15)]
    run.go(4, load=0, compute=1)
    assert run.shares[1] == 0
    assert len(run.warned) == 1
    assert '20% of the last 4 iterations' in run.warned[0]
    assert 'num_workers (3)' in run.warned[0]


def test_one_warning_an_epoch(monkeypatch):
    run = Run(monkeypatch)
    run.go(12, load=1, compute=1)
    assert len(run.warned) == 1
    run.runner.epoch = 1
    run.go(8, load=1, compute=1)
    assert len(run.warned) == 2


@pytest.mark.parametrize('over', ['before_train_epoch', 'after_val'])
def test_what_lies_between_iterations_is_no_waiting(monkeypatch, over):
    """Validation and checkpoints; but the first batch of an epoch is."""
    run = Run(monkeypatch)
    run.hook.before_train_epoch(run.runner)
    run.go(2, load=0, compute=1)
    run.now += 100
    getattr(run.hook, over)(run.runner)
    run.go(1, load=2, compute=2)
    run.go(1, load=0, compute=4)
    assert run.shares == [pytest.approx(2 / 10)]


def test_a_run_may_validate_alone(config):
    build(config, LoaderWaitHook()).val()


def test_of_several_processes_the_slowest(monkeypatch):
    run = Run(monkeypatch)
    monkeypatch.setattr(host, 'get_world_size', lambda: 2)

    def largest(tensor, op):
        assert op == 'max'
        tensor.fill_(0.75)

    monkeypatch.setattr(host, 'all_reduce', largest)
    run.go(4, load=0, compute=1)
    assert run.shares == [0.75] and '75%' in run.warned[0]


@pytest.mark.parametrize('key, value', [('window', 0), ('limit', 0)])
def test_options_are_checked(key, value):
    with pytest.raises(ValueError, match=f'LoaderWaitHook.{key}'):
        HOOKS.build({'type': 'LoaderWaitHook', key: value})


def test_what_is_there_for_good_is_not_searched():
    hook, frozen = FreezeGarbageHook(), gc.get_freeze_count()
    assert frozen > 10_000  # the suite's own doing
    hook.before_train(None)
    hook.after_train(None)
    assert abs(gc.get_freeze_count() - frozen) < 1000
    gc.unfreeze()
    try:
        hook.before_train(None)
        assert gc.get_freeze_count() > 10_000
        hook.after_train(None)
        assert gc.get_freeze_count() == 0
    finally:
        gc.freeze()
