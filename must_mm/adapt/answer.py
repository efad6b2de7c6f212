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
from .corrections import write_state
from .passes import Passes, classify
from .preparation import Job
from .trust import temperature_of, together


@dataclass(frozen=True)
class Answer:
    """What the runs say.

    Attributes:
        said: What each makes of the images.
        temperatures: By which the logits of each are divided.
        best: Index of the run that speaks for all.
    """

    said: list[Passes]
    temperatures: list[float]
    best: int


def ask(job: Job, checkpoints: Sequence[Path], screen: TextIO) -> Answer:
    """Show the images to the network of each run."""
    said = []
    for n, checkpoint in enumerate(checkpoints):
        model = trained_classifier(
            checkpoint, job.task.options.network == TEACHER
        )
        title = f'run {n + 1}' if len(checkpoints) > 1 else 'adapted'
        said.append(classify(model, job, title, screen))
        del model
    temperatures = [temperature_of(seen) for seen, _ in said]
    *_, best = together([seen for seen, _ in said], temperatures)
    return Answer(said, temperatures, best)


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
