"""The soak test itself: it finds leaks, and counts every fault."""

import json
import subprocess
import sys

import numpy as np
import pytest

from must_mm.transforms.loading import UnreadableImage, read_image
from tests.long.soak import (
    EACH,
    MIB,
    Growth,
    fit_growth,
    main,
    resident,
    write_folder,
)


def test_growth_of_a_leak_and_of_none():
    """Noise of 1 MiB around a line, 200 measurements, as of a full run."""
    rng = np.random.default_rng(0)
    iterations = list(range(10, 2001, 10))
    for leak in (0.0, 10.0):
        memory = [900 + leak * i / 1000 for i in iterations]
        memory = list(memory + rng.normal(size=len(memory)))
        # filling caches is no leak
        memory[:40] = np.linspace(500, 900, 40)
        growth = fit_growth(iterations, memory)
        # six standard errors
        assert abs(growth.rate - leak) < 3 * growth.error < 2
        assert growth.is_within(4) == (leak == 0)
    assert fit_growth(iterations, [100.0] * len(iterations)).is_within(0)


def test_the_upper_end_has_to_be_within():
    assert Growth(3, 0.9).is_within(4)
    assert not Growth(3, 1.1).is_within(4)
    assert Growth(-9, 1).is_within(4)


@pytest.mark.parametrize('kept', [0, 64])
def test_resident_memory_is_what_a_process_keeps(kept):
    """An interpreter takes some 10 MiB; in a process of its own, as pages
    of an old one may be swapped out meanwhile.
    """
    code = f'x = b"x" * ({kept} << 20); print(flush=True); input()'
    with subprocess.Popen(
        [sys.executable, '-S', '-c', code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        found = resident([process.pid])
        process.communicate(b'\n')
    assert kept * MIB < found < (kept + 32) * MIB
    assert resident([]) == 0


def test_folder_holds_what_it_says(tmp_path):
    ordinary, unreadable = write_folder(tmp_path / 'images')
    assert len(unreadable) == 4 * EACH
    for path in (tmp_path / 'images').iterdir():
        if path in unreadable:
            with pytest.raises(UnreadableImage):
                read_image(path)
        else:
            assert read_image(path).shape == (48, 64, 3)
    assert set(ordinary).isdisjoint(unreadable)
    with pytest.raises(FileExistsError, match='--work-dir'):
        write_folder(tmp_path / 'images')


def test_a_run_in_which_nothing_is_measured(capsys):
    with pytest.raises(SystemExit):
        main(['--iterations', '9'])
    assert '--iterations must be at least 10' in capsys.readouterr().err


@pytest.mark.slow
def test_short_form(tmp_path, capsys):
    """Memory is not to be judged so early; the counts are complete."""
    with pytest.raises(SystemExit) as ended:
        main(
            f'--iterations 200 --workers 1 --tolerance 1e6 '
            f'--work-dir {tmp_path}'.split()
        )
    assert ended.value.code == 0
    result = json.loads((tmp_path / 'soak.json').read_text())
    assert result['counted'] == result['faults'] == 4 * EACH + 10
    printed = capsys.readouterr().out
    assert '| 200 |' in printed and '0 missed, 0 wrongly counted' in printed
