"""From a folder of images to an adapted classifier, stage by stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from must_mm_cli.corrected import corrected_folder
from must_mm_cli.options import Options, check_given, check_out, load_moved

from .answer import ask, correct, export, teach, what_is_corrected
from .corrections import finished, run_folders, write_training_list
from .outcome import conclude, write_result
from .passes import classify
from .preparation import begin, fetch_weights, gather, prepare, write_config
from .progress import into_file
from .result import Result
from .settings import fewer
from .settle import settle
from .task import Task, check
from .training import train_all


def adapt(images: str | Path, classes, **options) -> Result:
    """Adapt a classifier to a folder of images, without labels.

    Args:
        images: Folder of images, at any depth.
        classes: Class names; see :func:`class_names`.
        options: The other attributes of :class:`Options`.

    Returns:
        What is also written to ``out``.

    Raises:
        FileNotFoundError: If a folder or a file is missing.
        OSError: If ``out`` cannot be written to.
        ValueError: If an option or the images are of no use.
    """
    task, out = _checked(images, classes, options)
    check_out(out)
    return _run(task, out)


def resume(
    out: str | Path,
    labels: str | Path | None = None,
    images: str | Path | None = None,
) -> Result:
    """Go on with the run in a folder, with the options it was started with.

    Args:
        out: The folder.
        labels: Labels to go on from its result with, see
            :func:`read_labels`; what comes of it lies in a folder beside it,
            see :func:`corrected_folder`.
        images: Folder of its images, if they have moved.

    Raises:
        FileNotFoundError: If a folder or a file is missing.
        ValueError: If the folder holds no run, its images have changed, or
            there is no result yet to go on from.
    """
    out = Path(out).expanduser().resolve()
    options = load_moved(out, images)
    if labels is None:
        return _run(check(options), out)
    finished(out)
    new = corrected_folder(out)
    epochs = options.epochs
    if epochs and not options.after:  # as without the option
        epochs = fewer(epochs)
    task = check(
        replace(
            options,
            labels=str(Path(labels).expanduser().resolve()),
            after=str(out),
            out=str(new),
            epochs=epochs,
        )
    )
    check_out(new)
    return _run(task, new)


def dry_run(images: str | Path, classes, **options) -> dict[str, str]:
    """Say what :func:`adapt` would do; nothing is written or fetched.

    Returns:
        Counts, settings, expected time and memory, by name.
    """
    init_default_scope('mmpretrain')
    task, out = _checked(images, classes, options, fetch=False)
    check_out(out, dry_run=True)
    found = gather(task, out)
    rows = found.plan.describe(task, found.images)
    for name, why in found.images.skipped.items():
        rows[f'skipped {name}'] = why
    for number, note in enumerate((*task.notes, *found.images.notes), 1):
        rows[f'note {number}'] = note
    return rows


def _checked(
    images: str | Path, classes, given: dict, fetch: bool = True
) -> tuple[Task, Path]:
    """The task that options describe, and the folder for its results."""
    options = Options(str(images), classes, **given)
    check_given(options, given)
    return check(options, fetch), Path(options.out).expanduser().resolve()


def _run(task: Task, out: Path) -> Result:
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        since = time.monotonic()
        yield
        spent = seconds.get(name, 0) + time.monotonic() - since
        seconds[name] = round(spent, 1)

    init_default_scope('mmpretrain')
    fetch_weights(task)
    with stage('images'):
        job = prepare(task, out)
    job = begin(job)
    folders = run_folders(out, job.runs)
    with into_file(out / 'run' / 'log.txt') as screen:
        with stage('zero-shot'):
            model = MODELS.build(job.cfg.model)
            model.init_weights()
            before = classify(model, job, 'zero-shot', screen)
            del model
            corrected = what_is_corrected(job, screen)
        notes = write_training_list(
            job.task, job.images, job.known, before[0], out
        )
        if not job.resumed:
            job = settle(
                job, before[0], corrected and corrected[0], notes, screen
            )
            write_config(job.cfg, job.config)
        if job.before:
            with stage('teaching'):
                answer = correct(job, job.before, before, screen)
        else:
            with stage('training'):
                checkpoints = train_all(
                    job.config, folders, task.options.seed, screen
                )
            with stage('results'):
                answer = ask(job, checkpoints, before, screen)
            if job.runs > 1:
                with stage('teaching'):
                    answer = teach(job, answer, before, screen)
        with stage('results'):
            weights = export(job, answer)
    result = conclude(job, before, corrected, answer, weights, notes, seconds)
    write_result(result)
    return result
