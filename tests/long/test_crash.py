"""Runs that are killed end as if they had not been."""

import random
import subprocess
import sys

import pytest
import torch

from tests.long.crash import SHARES, crash_test, draw_aims, equal_bits
from tests.tiny import ROOT


@pytest.mark.slow
def test_short_form(tmp_path, subprocess_env):
    """A kill while a checkpoint is being written; long runs have others."""
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'tests.long.crash',
            f'--work-dir={tmp_path}',
            '--kills=1',
            '--iterations=24',
            '--every=4',
        ],
        cwd=ROOT,
        env=subprocess_env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert '1 of 1 kills' in done.stdout
    assert 'writing' in done.stdout and 'FAILED' not in done.stdout
    assert 'fairness average equal bit for bit' in done.stdout


def test_every_test_has_a_kill_in_a_write():
    for seed in range(20):
        aims = draw_aims(2, random.Random(seed))
        assert len(aims) == 2 and 'writing' in aims and set(aims) <= {*SHARES}


@pytest.mark.parametrize(
    'other, equal',
    [
        ([torch.tensor([1.0, torch.nan])], True),
        ([torch.tensor([1.0, -torch.nan])], False),
        ([torch.tensor([1.0, 2.0])], False),
        ([torch.tensor([1.0, torch.nan]).double()], False),
        ([torch.tensor([[1.0], [torch.nan]])], False),
        ((torch.tensor([1.0, torch.nan]),), False),
        ([], False),
    ],
)
def test_equal_means_every_bit(other, equal):
    state = [torch.tensor([1.0, torch.nan])]
    assert equal_bits(dict(a=state), dict(a=other)) is equal
    assert equal_bits(dict(a=1), dict(b=1)) is False


@pytest.mark.parametrize('options', [dict(kills=0), dict(every=120)])
def test_options_out_of_range(tmp_path, options):
    with pytest.raises(ValueError, match='--kills.*--every'):
        crash_test(tmp_path, **options)
