"""Going on from a result: which one, with which labels, on which images."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

from must_mm_cli.corrected import STATE
from must_mm_cli.options import load

from ..checkpoints.whole_file import write_whole
from .labels import Known, not_measured, read_labels, save
from .lists import write_text
from .plan import TRAINED, Images
from .predict import Seen
from .result import LABELLED, NONE, REJECTED
from .said import Said, recall
from .task import Task
from .trust import rejected

KNOWN = 'known.csv'
LABELS = 'known.txt'  # the same, as the data set reads it


def run_folders(out: Path, runs: int) -> list[Path]:
    """A folder for each run: ``run``, ``run-2``, ..."""
    return [out / f'run{f"-{n}" if n > 1 else ""}' for n in range(1, runs + 1)]


def write_state(out: Path, checkpoint: Path, temperature: float) -> None:
    """Keep what a correction goes on from.

    Args:
        out: Folder of the result.
        checkpoint: The one that was exported, below that folder.
        temperature: By which its logits are divided.
    """
    state = dict(
        checkpoint=checkpoint.relative_to(out).as_posix(),
        temperature=temperature,
    )
    text = json.dumps(state, indent=2) + '\n'
    write_whole(out / STATE, text.encode())


def finished(out: Path) -> Path:
    """The checkpoint of a result.

    Raises:
        ValueError: If there is no result in the folder.
    """
    path = out / STATE
    if not path.is_file():
        raise ValueError(
            f'--resume {out}: there is no result to be corrected yet; go on '
            'with the run first: must-adapt --resume '
            f'{shlex.quote(str(out))}'
        )
    checkpoint = out / json.loads(path.read_text())['checkpoint']
    if not checkpoint.is_file():
        raise ValueError(
            f'--resume {out}: the checkpoint {checkpoint} is gone, from '
            'which it would go on; adapt once more with --labels'
        )
    return checkpoint


def said_before(task: Task, images: Images, known: Known) -> Said | None:
    """What runs have said of the images whose labels correct their result.

    The labels that are given do that if they are of images of the folder that
    the result was made of; else they are for runs to learn.

    Raises:
        ValueError: If it has other classes, or is not whole.
    """
    options = task.options
    if not (options.after and options.labels):
        return None
    out = Path(options.after)
    before = load(out)
    given = known.labels.keys() | known.none
    if before.folder != task.folder or given.isdisjoint(images.names):
        return None
    if list(before.classes) != task.classes:
        raise ValueError(
            f'--after {out}: its classes are {before.classes}, not '
            f'{task.classes}: labels cannot correct it. Leave --after out'
        )
    return recall(out, images.names)


def known_labels(task: Task, images: Images, out: Path) -> Known:
    """What is known: from before, from ``--labels``, the latter prevailing.

    It is kept beside the run, so that the file may change or go.
    """
    path = out / KNOWN
    given = task.options.labels
    folder, names, classes = task.folder, images.names, task.classes
    if path.is_file():
        return read_labels(path, folder, names, classes)
    known = Known()
    if task.options.after:
        before = Path(task.options.after) / KNOWN
        if before.is_file():
            known = read_labels(before, folder, names, classes)
    if given:
        there = Path(given).expanduser().resolve()
        known = known.updated(read_labels(there, folder, names, classes))
    return known


def keep_labels(task: Task, known: Known, out: Path) -> Task:
    """Write what is known into the folder of the run.

    Returns:
        The task, with these labels in place of those that were given.
    """
    if not known:
        return task
    save(known, task.classes, out / KNOWN)
    write_lines(
        out / LABELS, [f'{n} {k}' for n, k in sorted(known.labels.items())]
    )
    if not task.options.labels:  # they are those of before
        return task
    options = replace(task.options, labels=str(out / KNOWN))
    return replace(task, options=options)


def unmeasured(images: Images, task: Task, known: Known) -> Images:
    """Leave out of ``--eval`` what is trained on.

    Raises:
        ValueError: If nothing is left.
    """
    if not images.labelled or not known.labels:
        return images
    seen = not_measured(
        known, task.folder, task.eval_folder, [n for n, _ in images.labelled]
    )
    left = [(n, label) for n, label in images.labelled if n not in seen]
    if not left:
        raise ValueError(
            f'--eval {task.eval_folder}: all of its images are among those '
            'of --labels, nothing is left to measure with'
        )
    return replace(images, labelled=left)


def training_count(task: Task, images: Images, known: Known) -> int | None:
    """About how many images will train, before it is known which.

    Returns:
        ``None`` if all of the folder do, which need no list of their own.
    """
    if not _chosen(task, known):
        return None
    strange = round(task.options.reject * len(images.names))
    return len(training_list(images, known, set())) - strange


def _chosen(task: Task, known: Known) -> bool:
    """Whether those that train are listed, and not simply the folder's."""
    return bool(known or task.options.reject)


def training_list(
    images: Images, known: Known, strange: set[str]
) -> list[str]:
    """Paths of the images to train on, those elsewhere absolute."""
    out = known.none | (strange - known.labels.keys())
    inside = set(images.names)
    elsewhere = [name for name in known.labels if name not in inside]
    return [n for n in images.names if n not in out] + sorted(elsewhere)


def write_training_list(
    task: Task, images: Images, known: Known, start: Seen, out: Path
) -> dict[str, str]:
    """Write which images train, where these are not all.

    Args:
        task: What is asked for.
        images: The images.
        known: What is known of them.
        start: What the start made of them.
        out: Folder of the run.

    Returns:
        For each image that does not train, or has a label, a note.
    """
    strange = {images.names[i] for i in rejected(start, task.options.reject)}
    names = training_list(images, known, strange)
    trained = set(names)
    notes = {n: REJECTED for n in images.names if n not in trained}
    notes |= dict.fromkeys(known.none, NONE)
    notes |= dict.fromkeys(known.labels, LABELLED)
    if _chosen(task, known):
        write_lines(out / TRAINED, names)
    return notes


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a text file that appears once it is whole."""
    write_text(path, '\n'.join(lines) + '\n')
