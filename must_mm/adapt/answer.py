"""What the runs say together, and the one network that is exported."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..models.must import TEACHER
from ..weights.publish import (
    export_onnx,
    load_published,
    publish,
    trained_classifier,
)
from .corrections import finished, run_folders, write_state
from .fallback import gone_wrong
from .passes import Passes, classify
from .preparation import Job
from .training import undo_run
from .trust import temperature_of, together


@dataclass(frozen=True)
class Answer:
    """What the runs say.

    Attributes:
        said: What each makes of the images.
        temperatures: By which the logits of each are divided.
        best: Index of the run that speaks for all.
        checkpoints: What each run has left.
    """

    said: list[Passes]
    temperatures: list[float]
    best: int
    checkpoints: list[Path]


def ask(
    job: Job, checkpoints: Sequence[Path], before: Passes, screen: TextIO
) -> Answer:
    """Show the images to the network of each run; undo runs gone wrong.

    Args:
        job: What is asked for.
        checkpoints: What each run has left.
        before: What the start made of the images.
        screen: Where to show the progress.
    """
    said, kept = [], []
    folders = run_folders(job.out, job.runs)
    for n, checkpoint in enumerate(checkpoints):
        title = f'run {n + 1}' if job.runs > 1 else 'adapted'
        passes = _look(job, checkpoint, title, screen)
        there = passes[0].there & before[0].there
        found = gone_wrong(
            passes[0].labels[there],
            before[0].labels[there],
            job.prior,
            job.task.classes,
        )
        if found:
            seed = job.task.options.seed + n
            checkpoint = undo_run(job.config, folders[n], seed, found)
            passes = _look(job, checkpoint, f'{title}, undone', screen)
        said.append(passes)
        kept.append(checkpoint)
    temperatures = [temperature_of(seen) for seen, _ in said]
    *_, best = together([seen for seen, _ in said], temperatures)
    return Answer(said, temperatures, best, kept)


def _look(job: Job, checkpoint: Path, title: str, screen: TextIO) -> Passes:
    teacher = job.task.options.network == TEACHER
    model = trained_classifier(checkpoint, teacher)
    return classify(model, job, title, screen)


def what_is_corrected(job: Job, screen: TextIO) -> Passes | None:
    """Show the images to the result that the run goes on from, if any."""
    after = job.task.options.after
    if not after:
        return None
    return _look(job, finished(Path(after)), 'so far', screen)


def export(job: Job, checkpoint: Path, temperature: float) -> None:
    """Write the network that is kept, and what corrections go on from."""
    options = job.task.options
    weights, described = publish(
        checkpoint,
        job.out / 'model.pth',
        options.network == TEACHER,
        own_loader=job.images.unlike > 0,
        temperature=temperature,
    )
    write_state(job.out, checkpoint, temperature)
    if options.onnx:
        export_onnx(
            load_published(weights, described).cpu(),
            weights.with_suffix('.onnx'),
        )
