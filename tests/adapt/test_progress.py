"""What a user sees while something runs."""

import io

import pytest

from must_mm.adapt import progress
from must_mm.adapt.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    return now


def test_lines_where_there_is_no_terminal(clock):
    """One every five seconds, with what is left; and the last one."""
    shown = io.StringIO()
    with Progress('step', 40, stream=shown) as report:
        for done in range(1, 41):
            clock[0] += 2
            report(done, f'confident {done} %')
    lines = shown.getvalue().splitlines()
    assert lines[0] == 'step 3/40  74 s left  confident 3 %'
    assert lines[1] == 'step 6/40  68 s left  confident 6 %'
    assert lines[-1] == 'step 40/40  confident 40 %'
    assert len(lines) == 14


def test_a_resumed_run_counts_its_own_steps(clock):
    shown = io.StringIO()
    with Progress('step', 100, done=50, stream=shown) as report:
        clock[0] += 10
        report(60)
        clock[0] += 10
        report(70)
    assert shown.getvalue().splitlines() == [
        'step 60/100',
        'step 70/100  30 s left',
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal_that_is_left_as_it_was(monkeypatch):
    monkeypatch.setenv('TERM', 'xterm')
    shown = Terminal()
    with pytest.raises(RuntimeError, match='boom'):
        with Progress('images [of all]', 3, stream=shown) as report:
            report(1)
            report(2, 'half')
            raise RuntimeError('boom')
    text = shown.getvalue()
    assert 'images [of all]' in text and '2/3' in text and 'half' in text
    hidden, visible = '\x1b[?25l', '\x1b[?25h'
    assert text.rindex(visible) > text.rindex(hidden)
