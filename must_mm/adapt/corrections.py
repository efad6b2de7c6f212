"""Going on from a result: which one, with which labels, on which images."""

import json
from dataclasses import replace
from pathlib import Path

from must_mm_cli.corrected import STATE, corrections, first_result
from must_mm_cli.options import FILE, going_on, load

from ..checkpoints.whole_file import write_whole
from .labels import NO_CLASS, Known, not_measured, read_kept, read_labels, save
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


def write_state(
    out: Path, weights: Path, checkpoint: Path, temperature: float
) -> None:
    """Keep what a correction goes on from.

    Args:
        out: Folder of the result.
        weights: The exported network, in that folder.
        checkpoint: The one that was exported, below that folder.
        temperature: By which its logits are divided.
    """
    state = dict(
        weights=weights.name,
        checkpoint=checkpoint.relative_to(out).as_posix(),
        temperature=temperature,
    )
    text = json.dumps(state, indent=2) + '\n'
    write_whole(out / STATE, text.encode())


def _read_state(out: Path, key: str) -> dict[str, str]:
    """What :func:`write_state` has kept.

    Raises:
        ValueError: If there is no result in the folder, or it is damaged.
    """
    path, again = out / STATE, going_on(out)
    if not path.is_file():
        begun = (out / FILE).is_file()
        raise ValueError(
            f'{key} {out}: there is no result to go on from'
            + f' yet; end the run first: {again}' * begun
        )
    try:
        state = json.loads(path.read_text())
        return {name: str(state[name]) for name in ('weights', 'checkpoint')}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{key} {out}: {path} is damaged; {again} writes it anew'
        ) from error


def finished(out: Path, key: str = '--resume') -> Path:
    """The checkpoint of a result.

    Args:
        out: Its folder.
        key: The option that gives it, for errors.

    Raises:
        ValueError: If there is no result in the folder, or it is damaged.
    """
    checkpoint = out / _read_state(out, key)['checkpoint']
    if not checkpoint.is_file():
        raise ValueError(
            f'{key} {out}: the checkpoint {checkpoint} is gone, from '
            'which it would go on; adapt once more with --labels'
        )
    return checkpoint


def exported(out: Path) -> Path:
    """The exported weights of a result, in its folder.

    Raises:
        ValueError: If there is no result in the folder, or it is damaged.
    """
    weights = out / _read_state(out, '--predict')['weights']
    if not weights.is_file():
        raise ValueError(
            f'--predict {out}: {weights.name} is gone; {going_on(out)} '
            'writes it anew'
        )
    return weights


def goes_on_from(task: Task) -> Path | None:
    """The checkpoint of the result that a task goes on from, if any.

    Raises:
        ValueError: If there is no result, or it has other classes or another
            model.
    """
    out = task.options.after_folder
    if not out:
        return None
    checkpoint, before = finished(out, '--after'), load(out)
    differs = _difference(list(before.classes), task.classes)
    if differs:
        raise ValueError(
            f'--after {out}: {differs}; give its --classes in its order, or '
            'leave --after out'
        )
    if not task.config and not before.config:
        # by name: the file may have moved
        own, given = Path(before.model).name, Path(task.start['model']).name
        if own != given:
            raise ValueError(
                f'--after {out}: its model is {own}, not {given}; give '
                f'--model {before.model}, or leave --after out'
            )
    return checkpoint


def _difference(before: list[str], classes: list[str]) -> str:
    """What the classes of a result do not share with others, in words."""
    if len(before) != len(classes):
        return f'it has {len(before)} classes, not {len(classes)}'
    for number, (own, given) in enumerate(
        zip(before, classes, strict=True), 1
    ):
        if own != given:
            return f'its class {number} is {own!r}, not {given!r}'
    return ''


def said_before(task: Task, images: Images, known: Known) -> Said | None:
    """What runs have said of the images whose labels correct their result.

    The labels that are given do that if they are of images of the folder that
    the result was made of; else they are for runs to learn.

    Raises:
        ValueError: If it is not whole.
    """
    options = task.options
    if not (options.labels and _same_images(task)):
        return None
    given = known.labels.keys() | known.none
    if given.isdisjoint(images.names):
        return None
    return recall(options.after_folder, images.names)


def _same_images(task: Task) -> bool:
    """Whether a task is about the images of the result it goes on from.

    A correction is, wherever they lie now.
    """
    after, out = task.options.after_folder, Path(task.options.out)
    return after is not None and (
        first_result(after) == first_result(out.expanduser().resolve())
        or load(after).folder == task.folder
    )


def known_labels(task: Task, images: Images, out: Path) -> Known:
    """What is known: from before, from ``--labels``, the latter prevailing.

    It is kept beside the run, so that the file may change or go.
    """
    path = out / KNOWN
    given = task.options.labels
    about = task.folder, images.names, task.classes
    if path.is_file():
        return read_kept(path, *about)
    known = Known()
    before = _known_before(task.options.after_folder)
    if before and _same_images(task):
        known = read_kept(before, *about)
    if given:
        there = Path(given).expanduser().resolve()
        known = known.updated(read_labels(there, *about))
    return known


def _known_before(after: Path | None) -> Path | None:
    """What the newest correction of a result knows, or the result itself.

    Each knows what those before it did, whichever of them it went on from.
    """
    if not after:
        return None
    folders = [after, *corrections(after).values()]
    there = [f / KNOWN for f in folders if (f / KNOWN).is_file()]
    return there[-1] if there else None


def without_their_labels(known: Known) -> str:
    """Say that images have gone that had a label, if any have."""
    if not known.gone:
        return ''
    return (
        f'{len(known.gone)} images that had a label are gone, such as '
        f'{min(known.gone)}: their labels are left out'
    )


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

    Raises:
        ValueError: If they are fewer than two.
    """
    if not _chosen(task, known):
        return None
    strange = round(task.options.reject * len(images.names))
    count = len(training_list(images, known, set())) - strange
    if count < 2:
        blamed = [f'--reject {task.options.reject:g}'] * bool(strange)
        blamed += [f'{NO_CLASS} in --labels'] * bool(known.none)
        raise ValueError(
            f'{" and ".join(blamed)}: {max(count, 0)} of '
            f'{len(images.names)} images would be left to train on, two are '
            'needed; leave out fewer'
        )
    return count


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
