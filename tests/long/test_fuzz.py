"""The short form of both fuzzers, and that they notice what they look for."""

import faulthandler
import os
import pickle
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from tests.long import fuzz_checkpoints

PAYLOADS = tuple(fuzz_checkpoints.payloads(Path('/nowhere/mark')))


def unpickle(payload) -> None:
    """Load without any protection; some payloads raise after they ran."""
    try:
        pickle.loads(pickle.dumps(payload))
    except subprocess.CalledProcessError:
        pass


@pytest.mark.parametrize('kind', PAYLOADS)
def test_payloads_would_run(kind, tmp_path):
    mark = tmp_path / 'mark'
    unpickle(fuzz_checkpoints.payloads(mark)[kind])
    assert mark.exists()


@pytest.mark.onedl
def test_checkpoints():
    outcomes, faults = fuzz_checkpoints.fuzz(120)
    assert not faults
    assert {kind for kind, _ in outcomes} == set(fuzz_checkpoints.KINDS)
    assert outcomes['code', 'loaded'] == 0
    assert outcomes['keys', 'loaded'] > 0  # not everything is refused


def crash(path):
    faulthandler.disable()  # it would look like a crash of the tests
    os.kill(os.getpid(), signal.SIGSEGV)


def run_code(path):
    Path(path).with_name('mark').touch()


def raise_type_error(path):
    raise TypeError('broken')


def name_no_file(path):
    raise ValueError('something is wrong')


def test_faults_are_noticed(monkeypatch, tmp_path):
    """Each file is read by another broken reader."""
    broken = (crash, run_code, raise_type_error, name_no_file)
    reasons = (
        'process ended with',
        'code was run',
        'TypeError: broken',
        'names no file',
    )

    class Broken:
        def __init__(self, folder):
            pass

        def tensors(self, path):
            number = int(Path(path).stem.split('_')[1])
            broken[number](path)

        resume = load_from = classifier = tensors

    monkeypatch.setattr(fuzz_checkpoints, 'Readers', Broken)
    monkeypatch.setattr(
        fuzz_checkpoints,
        'good_contents',
        lambda folder: dict(run=dict(state_dict=dict(x=torch.ones(3)))),
    )
    _, faults = fuzz_checkpoints.fuzz(len(broken))
    for number, reason in enumerate(reasons):
        found = [text for n, _, text in faults if n == number]
        assert found and all(reason in text for text in found)


def test_configs():
    pytest.importorskip('hypothesis')
    from tests.long import fuzz_configs

    tried, faults = fuzz_configs.fuzz(40)
    assert not faults
    assert tried.total() == 40
