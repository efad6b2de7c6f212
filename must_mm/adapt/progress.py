"""Progress that a person can read; the full log goes to a file."""

import io
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import (
    ExitStack,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
)
from pathlib import Path
from typing import TextIO

import rich.progress
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.text import Text

EVERY, AT_MOST = 5.0, 60.0  # seconds between two lines


def duration(seconds: float) -> str:
    """Seconds in words: ``'45 s'``, ``'12 min'``, ``'3.5 h'``."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    if seconds < 90 * 60:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / 3600:.1f} h'


class _Left(ProgressColumn):
    """The time that is left, in words."""

    def render(self, task: Task) -> Text:
        """Say it, once it can be told."""
        return Text(_left(task))


def _left(task: Task) -> str:
    seconds = task.time_remaining
    return '' if not seconds else f'{duration(seconds)} left'


class Progress:
    """Shows how far something is, within a ``with`` statement.

    On a terminal a bar; elsewhere, as in a log file, one line every few
    seconds, and every minute of a long run.

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
        self.console = Console(file=stream or sys.stdout)
        self.bar = rich.progress.Progress(
            TextColumn('{task.description}', markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn('{task.fields[note]}', markup=False),
            _Left(),
            console=self.console,
            get_time=time.monotonic,
            speed_estimate_period=10 * AT_MOST,  # seconds
            # what is printed meanwhile may be led elsewhere
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.bar.add_task(title, total=total, completed=done, note='')
        self.begin = self.printed = time.monotonic()

    def __enter__(self) -> 'Progress':
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_error) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, done: int, note: str = '') -> None:
        """Report that ``done`` steps are done, with a note behind."""
        (task,) = self.bar.tasks
        self.bar.update(task.id, completed=done, note=note)
        if self.console.is_terminal:
            return
        now = time.monotonic()
        pause = min(AT_MOST, max(EVERY, (now - self.begin) / 20))
        if now - self.printed < pause and not task.finished:
            return
        self.printed = now
        parts = f'{task.description} {done}/{task.total}', _left(task), note
        print(
            '  '.join(filter(None, parts)), file=self.console.file, flush=True
        )


class ProgressHook(Hook):
    """Reports steps and the share of confident pseudo-labels.

    Args:
        stream: Where to print.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.confident = None
        self.shown = ExitStack()

    def before_train(self, runner) -> None:
        """Start counting, at the step of a resumed run."""
        self.progress = self.shown.enter_context(
            Progress('  step', runner.max_iters, runner.iter, self.stream)
        )

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Report a step; the share is averaged over about ten of them."""
        share = float(outputs['conf_ratio'])
        past = share if self.confident is None else self.confident
        self.confident = past + 0.1 * (share - past)
        # where all labels are given, it is sure of all of them
        given = float(outputs.get('labelled', 0)) == 1
        note = '' if given else f'confident {self.confident:.0%}'
        self.progress(runner.iter + 1, note)

    def close(self) -> None:
        """Take the bar away, however the training ended."""
        self.shown.close()


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
