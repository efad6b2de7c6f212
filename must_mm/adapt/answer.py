"""What the runs say together, and the one network that is exported."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import torch

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
from .trust import calibrated_runs, temperature_of, together


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
        probs: What they say together, (N, K), calibrated.
        speaker: The run that agrees best with all.
        taught: The student that they have taught, if there is one.
        warnings: What went wrong on the way.
    """

    runs: list[Trained]
    probs: torch.Tensor
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
        asked = _asked(job, folder, checkpoint, title, screen)
        found = _gone_wrong(job, asked, before)
        if found:
            seed = job.task.options.seed + n
            undone = undo_run(job.config, folder, seed, found)
            asked = _asked(job, folder, undone, f'{title}, undone', screen)
        runs.append(asked)
        undoing = fallback_of(folder)
        if job.runs > 1 and undoing:
            warnings.append(f'{title}: {undoing}')
    probs, best = together(
        calibrated_runs(
            [run.said[0] for run in runs], [run.temperature for run in runs]
        )
    )
    return Answer(runs, probs, runs[best], warnings=tuple(warnings))


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
    print('what the runs teach together', file=screen, flush=True)
    feats = [run.said[0].features for run in answer.runs]
    config = write_lesson(job, answer.probs, feats)
    folder, seed = job.out / FOLDER, job.task.options.seed + job.runs
    checkpoint = train(config, folder, screen, seed)
    taught = _asked(job, folder, checkpoint, 'taught', screen)
    found = fallback_of(folder) or _gone_wrong(job, taught, before)
    if not found:
        return replace(answer, taught=taught)
    warning = f'what the runs taught together is not used: {found}'
    return replace(answer, warnings=(*answer.warnings, warning))


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
