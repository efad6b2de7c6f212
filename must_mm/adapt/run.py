"""From a folder of images to an adapted classifier, stage by stage."""

import shlex
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TextIO

import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS, TASK_UTILS

from must_mm_cli.corrected import corrected_folder
from must_mm_cli.options import Options, check_given, check_out, load

from ..checkpoints.whole_file import write_whole
from ..evaluation.calibration import calibrated
from ..models.must import TEACHER
from ..runs.launch import build_runner
from ..utils.lists import same_name
from ..utils.scalars import read_scalars
from ..utils.versions import installed_versions
from ..weights.publish import (
    export_onnx,
    load_published,
    publish,
    trained_classifier,
)
from .config import config_text, follow_folder, load_config
from .corrections import (
    LABELS,
    finished,
    keep_labels,
    known_labels,
    run_folders,
    training_count,
    unmeasured,
    write_state,
    write_training_list,
)
from .cost import this_machine
from .fallback import fallback_of, train_or_fall_back
from .labels import write_review
from .plan import Images, look_at_images, make_plan
from .predict import (
    REJECTED,
    Seen,
    evaluation,
    look,
    predictions,
    skew,
    write_csv,
)
from .progress import ProgressHook, into_file
from .report import write_report
from .result import Evaluation, Prediction, Result
from .settings import threshold
from .task import Task, check, save
from .trust import (
    reliability,
    strangeness,
    temperature_of,
    together,
    trust_of,
)

#: Of the images, and of the labelled ones if there are any.
Passes = tuple[Seen, Seen | None]
_NO_CURVES = {'step', 'iter', 'epoch', 'time', 'data_time', 'memory'}


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


def resume(out: str | Path, labels: str | Path | None = None) -> Result:
    """Go on with the run in a folder, with the options it was started with.

    Args:
        out: The folder.
        labels: Labels to go on from its result with, see
            :func:`read_labels`; what comes of it lies in a folder beside it,
            see :func:`corrected_folder`.

    Raises:
        ValueError: If the folder holds no run, its images have changed, or
            there is no result yet to go on from.
    """
    out = Path(out).expanduser().resolve()
    options = load(out)
    if labels is None:
        return _run(check(options), out)
    finished(out)
    new = corrected_folder(out)
    task = check(
        replace(
            options,
            labels=str(Path(labels).expanduser().resolve()),
            after=str(out),
            out=str(new),
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
    found = look_at_images(task, out, this_machine().cores)
    known = known_labels(task, found, out)
    trained = training_count(task, found, known)
    rows = make_plan(task, found, out, trained).describe(task, found)
    for name, why in found.skipped.items():
        rows[f'skipped {name}'] = why
    for number, note in enumerate((*task.notes, *found.notes), 1):
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
        begin = time.monotonic()
        yield
        seconds[name] = round(time.monotonic() - begin, 1)

    init_default_scope('mmpretrain')
    path = out / 'config.py'
    with stage('images'):
        images = look_at_images(task, out, this_machine().cores)
        known = known_labels(task, images, out)
        images = unmeasured(images, task, known)
        after = task.options.after and finished(Path(task.options.after))
        plan = make_plan(
            task,
            images,
            out,
            training_count(task, images, known),
            out / LABELS if known.labels else None,
            after,
        )
        runs = plan.runs(task, images)
        task = replace(task, options=replace(task.options, runs=runs))
    # with options and no config, the run was stopped before it trained
    resumed = path.is_file()
    cfg = load_config(path) if resumed else Config(plan.cfg)
    if resumed and follow_folder(cfg, out):
        write_text(path, config_text(cfg.to_dict(), header(out)))
    words = replace(plan, cfg=cfg).describe(task, images)
    show(words)
    for note in (*task.notes, *images.notes):
        print(f'note: {note}', flush=True)
    start = TASK_UTILS.build(cfg.model.start)
    if hasattr(start, 'prepare'):
        # on the screen: open_clip shows what it fetches; and before anything
        # is written, so that the command can be repeated if it fails
        print('building the zero-shot classifier', flush=True)
        start.prepare()
    write_lists(task, images, out)
    task = keep_labels(task, known, out)
    save(task, out)
    with into_file(out / 'run' / 'log.txt') as screen:
        listed = out / 'images.txt', out / 'labelled.txt'

        def classify(model: nn.Module, who: str) -> Passes:
            title = f'{who}: image'
            seen = look(model, cfg, task.folder, listed[0], title, screen)
            if not images.labelled:
                return seen, None
            return seen, look(
                model,
                cfg,
                task.eval_folder,
                listed[1],
                f'{who}: labelled image',
                screen,
                labelled=True,
                mixed=0,
            )

        with stage('zero-shot'):
            model = MODELS.build(cfg.model)
            model.init_weights()
            before = classify(model, 'zero-shot')
            del model
        notes = write_training_list(task, images, known, before[0], out)
        if not resumed:
            if not task.config:
                before_all = before[0].only(before[0].there)
                confidences = before_all.probabilities.max(dim=1).values
                cfg.model.head.threshold = threshold(confidences.tolist())
            write_text(path, config_text(cfg.to_dict(), header(out)))
        with stage('training'):
            folders = run_folders(out, runs)
            checkpoints = [
                train(path, folder, screen, task.options.seed + n)
                for n, folder in enumerate(folders)
            ]
        with stage('results'):
            said = []
            for n, checkpoint in enumerate(checkpoints):
                model = trained_classifier(
                    checkpoint, task.options.network == TEACHER
                )
                title = f'run {n + 1}' if len(folders) > 1 else 'adapted'
                said.append(classify(model, title))
                del model
            temperatures = [temperature_of(seen) for seen, _ in said]
            *_, best = together([seen for seen, _ in said], temperatures)
            weights, described = publish(
                checkpoints[best],
                out / 'model.pth',
                task.options.network == TEACHER,
                own_loader=images.unlike > 0,
                temperature=temperatures[best],
            )
            write_state(out, checkpoints[best], temperatures[best])
            if task.options.onnx:
                export_onnx(
                    load_published(weights, described).cpu(),
                    weights.with_suffix('.onnx'),
                )

    images, before, said = without_gone(task, images, before, said)
    probs, agreed, _ = together([seen for seen, _ in said], temperatures)
    measured, reliable = None, []
    if images.labelled:
        labels = [label for _, label in images.labelled]
        after = calibrated(said[best][1].logits, temperatures[best])
        measured = evaluation(labels, before[1].logits, after)
        reliable = reliability(after, labels, task.classes)
    found = predictions(
        task.folder,
        images.names,
        before[0].probabilities,
        probs,
        agreed,
        strangeness(before[0]),
        notes,
        known.labels,
    )
    trust = trust_of(
        found,
        before[0],
        said[best][0],
        probs,
        temperatures[best],
        runs,
        task.options.review,
        task.options.seed,
        [i for i, p in enumerate(found) if p.note],
    )
    curves = read_curves(folders[best])
    words['threshold'] = f'{cfg.model.head.threshold:g}'
    words['temperature'] = f'{temperatures[best]:g}'
    if runs > 1:
        words['exported run'] = f'{best + 1} of {runs}'
    result = Result(
        folder=task.folder,
        classes=task.classes,
        predictions=found,
        skipped=images.skipped,
        evaluation=measured,
        curves=curves,
        settings=words,
        versions=installed_versions(),
        seconds=seconds,
        warnings=warnings_of(task, images, found, measured, curves),
        fallback=fallback_of(folders[best]),
        trust=replace(trust, reliability=reliable),
        out=out,
    )
    write_csv(found, task.classes, out / 'predictions.csv')
    write_review(trust.review, task.classes, out / 'review.csv')
    write_report(result, out / 'report.html')
    return result


def without_gone(
    task: Task, images: Images, before: Passes, after: list[Passes]
) -> tuple[Images, Passes, list[Passes]]:
    """Leave out images that went while the run went on.

    Args:
        task: What was asked for.
        images: The images of its beginning.
        before: What the start made of the images, and of the labelled ones
            if there are any.
        after: What each of the adapted classifiers made of them.

    Returns:
        The three without them; they are among those that were skipped.
    """
    skipped, kept, seen = dict(images.skipped), [], []
    folders = [(task.folder, images.names)]
    if images.labelled:
        folders.append((task.eval_folder, images.labelled))
    for part, (folder, entries) in enumerate(folders):
        passes = [one[part] for one in (before, *after)]
        there = torch.stack([one.there for one in passes]).all(dim=0)
        kept.append([])
        for entry, here in zip(entries, there.tolist(), strict=True):
            if here:
                kept[part].append(entry)
            else:
                name = entry if part == 0 else str(folder / entry[0])
                skipped[name] = 'it went, or changed, while the run went on'
        seen.append([one.only(there) for one in passes])
    images = replace(
        images,
        names=kept[0],
        labelled=kept[1] if images.labelled else [],
        skipped=skipped,
    )
    if not images.labelled:
        seen.append([None] * len(seen[0]))
    first, *others = zip(*seen, strict=True)
    return images, first, others


def write_text(path: Path, text: str) -> None:
    """Write a text that appears once it is whole.

    Raises:
        OSError: If it cannot be written, with its name and the room there is.
    """
    # a file name that is not Unicode is written with escapes
    write_whole(path, text.encode('utf-8', 'backslashreplace'))


def show(words: dict[str, str]) -> None:
    """Print a table of names and words."""
    for name, value in words.items():
        print(f'  {name:17} {value}', flush=True)


def header(out: Path) -> str:
    """What the generated config says of itself."""
    return (
        'MUST on a folder of images, generated by must-adapt.\n\n'
        'To go on with the run:  must-adapt --resume DIR\n'
        'To run it once more, edited or not:\n'
        f'  python tools/train.py {shlex.quote(str(out / "config.py"))} '
        '--work-dir ANOTHER'
    )


def write_lists(task: Task, images: Images, out: Path) -> None:
    """Write the lists of images, or compare them with those of a run.

    Raises:
        ValueError: If the run that is to go on has other images.
    """
    lists = {'images.txt': images.names}
    if images.labelled:
        lists['labelled.txt'] = [
            f'{n} {label}' for n, label in images.labelled
        ]
    for name, lines in lists.items():
        path = out / name
        if not path.is_file():
            write_text(path, '\n'.join(lines) + '\n')
            continue
        known = path.read_text(encoding='utf-8').splitlines()
        if known != lines and sorted(map(same_name, known)) == sorted(
            map(same_name, lines)
        ):
            # copied from or to a Mac, which writes names in another form
            names = {same_name(line): line for line in lines}
            known = lines = [names[same_name(line)] for line in known]
            write_text(path, '\n'.join(lines) + '\n')
        if known != lines:
            raise ValueError(
                f'--resume {out}: the images have changed since the run '
                f'began, {len(set(lines) - set(known))} are new and '
                f'{len(set(known) - set(lines))} are missing or cannot be '
                'read: restore them, or start anew with another --out'
            )


def train(config: Path, run: Path, screen: TextIO, seed: int) -> Path:
    """Train as ``tools/train.py`` does, from the newest checkpoint if any.

    Args:
        config: The config.
        run: Folder for log and checkpoints.
        screen: Where to show the progress.
        seed: Seed of the run.

    Returns:
        The checkpoint to take, see :func:`train_or_fall_back`.
    """
    argv = [str(config), '--work-dir', str(run), '--resume']
    # MMEngine shares logs between runs of one name within a process
    argv += [
        '--cfg-options',
        f'experiment_name=adapt-{time.time_ns()}',
        f'randomness.seed={seed}',
    ]
    runner = build_runner('', 'train', argv)
    progress = ProgressHook(screen)
    runner.register_hook(progress)
    with closing(progress):
        return train_or_fall_back(runner)


def read_curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Read what MMEngine logged while training, interrupted or not.

    Args:
        run: Folder of the run, with a folder for each part of it.

    Returns:
        For each name its values as (step, value).
    """
    curves: dict[str, dict[int, float]] = {}
    for scalars in chain.from_iterable(read_scalars(run)):
        if 'loss' not in scalars:
            continue
        for name in scalars.keys() - _NO_CURVES:
            curves.setdefault(name, {})[scalars['step']] = scalars[name]
    return {name: sorted(curves[name].items()) for name in sorted(curves)}


def warnings_of(
    task: Task,
    images: Images,
    found: list[Prediction],
    measured: Evaluation | None,
    curves: dict[str, list[tuple[int, float]]],
) -> list[str]:
    """What the reader should know before trusting the result."""
    texts = [*task.notes, *images.notes]
    if images.skipped:
        texts.append(
            f'{len(images.skipped)} images could not be read and were skipped'
        )
    if len(found) < 10 * len(task.classes):
        texts.append(
            f'{len(found)} images of {len(task.classes)} classes are few: '
            'little can be learned from them'
        )
    balanced = task.options.fairness_weight > 0
    trained = [p for p in found if p.note != REJECTED]
    for who, labels in (
        ('zero-shot', [p.zero_shot for p in trained]),
        ('adapted', [p.label for p in trained]),
    ):
        skewed = skew(labels, task.classes, task.prior)
        if skewed:
            texts.append(
                f'the {who} predictions are skewed ({"; ".join(skewed)})'
                + (
                    ': training pulls them towards the class prior; if the '
                    'folder is not balanced like that, state --class-prior, '
                    'or use --fairness-weight 0'
                    if balanced
                    else ''
                )
            )
    confident = curves.get('conf_ratio', [])
    if confident and confident[-1][1] < 0.05:
        texts.append(
            'at the end fewer than 5 % of the images had a confident '
            'pseudo-label: lower model.head.threshold in config.py'
        )
    if measured:
        before, after = map(
            Evaluation.accuracy, (measured.before, measured.after)
        )
        if after < before:
            texts.append(
                f'accuracy fell from {100 * before:.1f} to '
                f'{100 * after:.1f} %: keep the zero-shot classifier'
            )
        seen = {label for _, label in images.labelled}
        absent = [n for i, n in enumerate(task.classes) if i not in seen]
        if absent:
            texts.append(f'no labelled images of: {", ".join(absent)}')
        if task.eval_folder.is_relative_to(task.folder):
            texts.append(
                'the labelled images lie in the folder that was trained on; '
                'their labels were not used'
            )
    return texts
