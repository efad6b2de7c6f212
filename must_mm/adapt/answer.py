"""What the runs say together, and the one network that is exported."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import TextIO

from ..evaluation.agreement import spokesman
from ..models.must import TEACHER
from ..weights.publish import (
    export_onnx,
    load_published,
    publish,
    trained_classifier,
)
from .corrections import finished, run_folders, write_state
from .fallback import fallback_of, gone_wrong
from .lesson import Lesson
from .passes import Passes, classify
from .preparation import Job
from .said import Said, keep, said_of
from .taught import FOLDER, lesson_of, write_lesson
from .training import train, undo_run
from .trust import calibrated_runs, temperature_of


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
        said: What they say together; of a correction, those of before.
        lesson: What the images are to be called by that.
        runs: Those that are asked; of a correction, none.
        speaker: The run that agrees best with all; of a correction, the
            student.
        taught: The student that they have taught, if there is one.
        warnings: What went wrong on the way.
    """

    said: Said
    lesson: Lesson
    runs: list[Trained]
    speaker: Trained
    taught: Trained | None = None
    warnings: tuple[str, ...] = ()

    @property
    def exported(self) -> Trained:
        """The network that speaks for all."""
        return self.taught or self.speaker

    @property
    def name(self) -> str:
        """Which of several it is."""
        if self.taught:
            return f'one that all {len(self.runs)} have taught'
        return f'{self.runs.index(self.speaker) + 1} of {len(self.runs)}'


def ask(
    job: Job, checkpoints: Sequence[Path], before: Passes, screen: TextIO
) -> Answer:
    """Show the images to the network of each run.

    Args:
        job: What is asked for.
        checkpoints: What each run has left.
        before: What the start made of the images.
        screen: Where to show the progress.
    """
    runs, warnings = [], []
    folders = run_folders(job.out, job.runs)
    for n, (folder, checkpoint) in enumerate(
        zip(folders, checkpoints, strict=True)
    ):
        title = f'run {n + 1}' if job.runs > 1 else 'adapted'
        seed = job.task.options.seed + n
        asked = _asked(job, folder, checkpoint, title, screen)
        runs.append(
            _sound(job, asked, job.config, seed, title, before, screen)
        )
        undoing = fallback_of(folder)
        if job.runs > 1 and undoing:
            warnings.append(f'{title}: {undoing}')
    probs = calibrated_runs(
        [run.said[0] for run in runs], [run.temperature for run in runs]
    )
    there = ~probs.isnan().any(dim=2).any(dim=0)
    probs = probs[:, there]
    names = list(compress(job.images.names, there.tolist()))
    feats = [run.said[0].features[there] for run in runs]
    said = said_of(names, probs, feats)
    return Answer(
        said,
        lesson_of(job, said),
        runs,
        runs[spokesman(probs)],
        warnings=tuple(warnings),
    )


def teach(job: Job, answer: Answer, before: Passes, screen: TextIO) -> Answer:
    """Let several runs teach a student, unless all of them went wrong.

    Where the student goes wrong the answer stays as it was, with a warning.

    Args:
        job: What is asked for.
        answer: What the runs say.
        before: What the start made of the images.
        screen: Where to show the progress.
    """
    if all(fallback_of(run.folder) for run in answer.runs):
        return answer
    _, taught = _learn(
        job, answer.lesson, job.runs, 'what the runs teach together', screen
    )
    found = fallback_of(taught.folder) or _gone_wrong(job, taught, before)
    if not found:
        return replace(answer, taught=taught)
    warning = f'what the runs taught together is not used: {found}'
    return replace(answer, warnings=(*answer.warnings, warning))


def correct(job: Job, said: Said, before: Passes, screen: TextIO) -> Answer:
    """Let the labels of a person teach the result that they correct.

    They spread to the neighbours, with what the runs of that result have
    said; nothing else is trained.

    Args:
        job: What is asked for.
        said: What the runs have said.
        before: What the start made of the images.
        screen: Where to show the progress.
    """
    lesson = lesson_of(job, said)
    config, taught = _learn(job, lesson, 0, 'what the labels teach', screen)
    seed = job.task.options.seed
    taught = _sound(job, taught, config, seed, 'it', before, screen)
    new, warnings = len(set(job.images.names) - set(said.names)), ()
    if new:
        warnings = (
            f'{new} images are new since the runs: no run was asked about '
            'them, and they are not asked for; adapt anew to include them',
        )
    return Answer(said, lesson, [], taught, taught, warnings)


def _learn(
    job: Job, lesson: Lesson, later: int, title: str, screen: TextIO
) -> tuple[Path, Trained]:
    """Train a student by labels, with a seed that is so much later.

    Returns:
        Its config, and the student.
    """
    print(title, file=screen, flush=True)
    config, folder = write_lesson(job, lesson), job.out / FOLDER
    seed = job.task.options.seed + later
    checkpoint = train(config, folder, screen, seed)
    return config, _asked(job, folder, checkpoint, 'what it says', screen)


def _sound(
    job: Job,
    asked: Trained,
    config: Path,
    seed: int,
    title: str,
    before: Passes,
    screen: TextIO,
) -> Trained:
    """The network of a run, or what it began with where it went wrong."""
    found = _gone_wrong(job, asked, before)
    if not found:
        return asked
    undone = undo_run(config, asked.folder, seed, found)
    return _asked(job, asked.folder, undone, f'{title}, undone', screen)


def _asked(
    job: Job, folder: Path, checkpoint: Path, title: str, screen: TextIO
) -> Trained:
    said = _look(job, checkpoint, title, screen)
    return Trained(folder, checkpoint, said, temperature_of(said[0]))


def _gone_wrong(job: Job, asked: Trained, before: Passes) -> str:
    there = asked.said[0].there & before[0].there
    return gone_wrong(
        asked.said[0].labels[there],
        before[0].labels[there],
        job.prior,
        job.task.classes,
    )


def _look(job: Job, checkpoint: Path, title: str, screen: TextIO) -> Passes:
    teacher = job.task.options.network == TEACHER
    model = trained_classifier(checkpoint, teacher)
    return classify(model, job, title, screen)


def what_is_corrected(job: Job, screen: TextIO) -> Passes | None:
    """Show the images to the result that the run goes on from, if any."""
    after = job.task.options.after_folder
    if not after:
        return None
    return _look(job, finished(after, '--after'), 'so far', screen)


def export(job: Job, answer: Answer) -> Path:
    """Write the network that is kept, and what corrections go on from.

    Returns:
        Its weights.
    """
    options, trained = job.task.options, answer.exported
    weights, described = publish(
        trained.checkpoint,
        job.out / 'model.pth',
        options.network == TEACHER,
        own_loader=job.images.unlike > 0,
        temperature=trained.temperature,
    )
    keep(answer.said, job.out)
    write_state(job.out, weights, trained.checkpoint, trained.temperature)
    if options.onnx:
        export_onnx(
            load_published(weights, described).cpu(),
            weights.with_suffix('.onnx'),
        )
    return weights
