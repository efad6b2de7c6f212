"""Progress that a person can read; the full log goes to a file."""

import io
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from mmengine.hooks import Hook
from mmengine.logging import MMLogger

EVERY, AT_MOST = 5.0, 60.0  # seconds between two lines


def duration(seconds: float) -> str:
    """Seconds in words: ``'45 s'``, ``'12 min'``, ``'3.5 h'``."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    if seconds < 90 * 60:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / 3600:.1f} h'


class Progress:
    """Prints one line every few seconds, and every minute of a long run.

    Args:
        title: What is going on.
        total: Number of steps.
        done: Steps that were done before.
        stream: Where to print; standard output by default.
    """

    def __init__(
        self,
        title: str,
        total: int,
        done: int = 0,
        stream: TextIO | None = None,
    ) -> None:
        self.title, self.total, self.first = title, total, done
        self.stream = stream or sys.stdout
        self.begin = self.printed = time.monotonic()

    def __call__(self, done: int, note: str = '') -> None:
        """Report that ``done`` steps are done, with a note behind."""
        now = time.monotonic()
        pause = min(AT_MOST, max(EVERY, (now - self.begin) / 20))
        if now - self.printed < pause and done < self.total:
            return
        self.printed = now
        line = f'{self.title} {done}/{self.total}'
        if self.first < done < self.total:
            each = (now - self.begin) / (done - self.first)
            line += f'  {duration(each * (self.total - done))} left'
        print(line + note, file=self.stream, flush=True)


class ProgressHook(Hook):
    """Reports steps and the share of confident pseudo-labels.

    Args:
        stream: Where to print.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.confident = None

    def before_train(self, runner) -> None:
        """Start counting, at the step of a resumed run."""
        self.progress = Progress(
            '  step', runner.max_iters, runner.iter, self.stream
        )

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Report a step; the share is averaged over about ten of them."""
        share = float(outputs['conf_ratio'])
        past = share if self.confident is None else self.confident
        self.confident = past + 0.1 * (share - past)
        self.progress(
            runner.iter + 1, f'  confident {100 * self.confident:.0f} %'
        )


@contextmanager
def _printing_to(file: TextIO) -> Iterator[TextIO]:
    """Lead what is printed, and what MMEngine logs, to another stream.

    Yields:
        The standard output of before.
    """

    def lead_log(stream: TextIO) -> None:
        for handler in MMLogger.get_current_instance().handlers:
            if type(handler) is logging.StreamHandler:
                # not setStream, which flushes: the old one may be closed
                handler.stream = stream

    screen = sys.stdout
    lead_log(file)
    try:
        with redirect_stdout(file), redirect_stderr(file):
            yield screen
    finally:
        lead_log(screen)  # a run has a logger of its own by now


@contextmanager
def silence() -> Iterator[None]:
    """Drop what is printed: MMEngine lists every parameter it initialises."""
    with _printing_to(io.StringIO()):
        yield


@contextmanager
def into_file(path: Path) -> Iterator[TextIO]:
    """Lead all that is printed into a file, errors included.

    Yields:
        The standard output of before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open('a', encoding='utf-8') as file,
        _printing_to(file) as screen,
    ):
        try:
            yield screen
        except Exception:
            traceback.print_exc()
            raise
