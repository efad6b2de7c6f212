"""Runs on several GPUs, which are pretended: what is run, and said."""

import io
import stat
import sys
from pathlib import Path

import pytest

from must_mm.adapt import side_by_side
from must_mm.adapt.side_by_side import gpus, train_side_by_side

#: Stands for Python: says what it was given, and fails where asked to.
PROCESS = """#!/bin/sh
echo "  step 1/2"
echo "$CUDA_VISIBLE_DEVICES $3 $5" >> "$4/given"
if [ "$5" = 8 ]; then echo 'no luck' >&2; exit 3; fi
echo "checkpoint: $4/last.pth"
"""


@pytest.fixture
def python(tmp_path, monkeypatch):
    path = tmp_path / 'python'
    path.write_text(PROCESS)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, 'executable', str(path))


def train(folder: Path, seeds) -> tuple[list[Path], str]:
    screen = io.StringIO()
    folders = [folder / f'run-{n}' for n in range(len(seeds))]
    config = folder / 'config.py'
    found = train_side_by_side(config, folders, seeds, ['0', '3'], screen)
    return found, screen.getvalue()


def test_every_run_has_a_gpu_and_its_seed(python, tmp_path):
    found, said = train(tmp_path, range(4, 9 - 1))
    assert found == [tmp_path / f'run-{n}' / 'last.pth' for n in range(4)]
    given = [(path.parent / 'given').read_text().split() for path in found]
    assert {device for device, *_ in given} <= {'0', '3'}
    assert [seed for *_, seed in given] == ['4', '5', '6', '7']
    assert {name for _, name, _ in given} == {str(tmp_path / 'config.py')}
    lines = said.splitlines()
    assert sorted(lines) == [f'run {n}  step 1/2' for n in range(1, 5)]


def test_a_run_that_fails_is_named_with_its_log(python, tmp_path):
    with pytest.raises(RuntimeError, match='run 2 .*status 3: .*run-1/log'):
        train(tmp_path, [7, 8, 9])
    assert (tmp_path / 'run-1' / 'log.txt').read_text() == 'no luck\n'
    # the others have ended by themselves
    assert (tmp_path / 'run-2' / 'given').is_file()


def test_gpus_are_those_that_are_visible(monkeypatch):
    monkeypatch.setattr(side_by_side.torch.cuda, 'device_count', lambda: 2)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert gpus() == ['0', '1']
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', 'GPU-7, 5')
    assert gpus() == ['GPU-7', '5']
    monkeypatch.setattr(side_by_side.torch.cuda, 'device_count', lambda: 0)
    assert gpus() == []
