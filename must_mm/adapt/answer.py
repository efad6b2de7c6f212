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
from .fallback import fallback_of, gone_wrong
from .passes import Passes, classify
from .preparation import Job
from .taught import FOLDER, write_lesson
from .training import train, undo_run
from .trust import temperature_of, together


@dataclass(frozen=True)
class Trained:
    """The network of a run.

    Attributes:
        folder: Of the run.
        checkpoint: What it has left.
        said: What the network makes of the images.
        temperature: By which its logits are divided.
    """

    folder: Path
    checkpoint: Path
    said: Passes
    temperature: float


@dataclass(frozen=True)
class Answer:
    """What the runs say.

    Attributes:
        runs: Those that are asked.
        exported: The network that speaks for all.
        name: Which one that is, in words; nothing if there is but one.
    """

    runs: list[Trained]
    exported: Trained
    name: str = ''


def ask(
    job: Job, checkpoints: Sequence[Path], before: Passes, screen: TextIO
) -> Answer:
    """Show the images to the network of each run; let several teach one.

    Args:
        job: What is asked for.
        checkpoints: What each run has left.
        before: What the start made of the images.
        screen: Where to show the progress.
    """
    folders, seed = run_folders(job.out, job.runs), job.task.options.seed
    titles = [f'run {n}' for n in range(1, job.runs + 1)]
    if job.runs == 1:
        titles = ['adapted']
    runs = [
        _asked(job, job.config, seed + n, *run, before, screen)
        for n, run in enumerate(zip(folders, checkpoints, titles, strict=True))
    ]
    if job.runs == 1:
        return Answer(runs, runs[0])
    probs, _, best = together(
        [run.said[0] for run in runs], [run.temperature for run in runs]
    )
    if not all(fallback_of(folder) for folder in folders):
        print('what they teach together', file=screen, flush=True)
        feats = [run.said[0].features for run in runs]
        config = write_lesson(job, probs, feats)
        folder, own = job.out / FOLDER, seed + job.runs
        checkpoint = train(config, folder, screen, own)
        taught = _asked(
            job, config, own, folder, checkpoint, 'taught', before, screen
        )
        if not fallback_of(folder):
            return Answer(runs, taught, f'one that all {job.runs} have taught')
    return Answer(runs, runs[best], f'{best + 1} of {job.runs}')


def _asked(
    job: Job,
    config: Path,
    seed: int,
    folder: Path,
    checkpoint: Path,
    title: str,
    before: Passes,
    screen: TextIO,
) -> Trained:
    """Show the images to a run's network; undo it if it has gone wrong."""
    said = _look(job, checkpoint, title, screen)
    there = said[0].there & before[0].there
    found = gone_wrong(
        said[0].labels[there],
        before[0].labels[there],
        job.prior,
        job.task.classes,
    )
    if found:
        checkpoint = undo_run(config, folder, seed, found)
        said = _look(job, checkpoint, f'{title}, undone', screen)
    return Trained(folder, checkpoint, said, temperature_of(said[0]))


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


def export(job: Job, trained: Trained) -> None:
    """Write the network that is kept, and what corrections go on from."""
    options = job.task.options
    weights, described = publish(
        trained.checkpoint,
        job.out / 'model.pth',
        options.network == TEACHER,
        own_loader=job.images.unlike > 0,
        temperature=trained.temperature,
    )
    write_state(job.out, trained.checkpoint, trained.temperature)
    if options.onnx:
        export_onnx(
            load_published(weights, described).cpu(),
            weights.with_suffix('.onnx'),
        )
