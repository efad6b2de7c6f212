"""From what the runs say to the result, its table and its page."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch

from must_mm_cli.options import going_on

from ..evaluation.agreement import agreement
from ..evaluation.calibration import calibrated
from ..utils.scalars import read_scalars
from ..utils.versions import installed_versions
from .answer import Answer
from .fallback import fallback_of
from .labels import is_filled_in, write_review
from .passes import Passes, without_gone
from .plan import Images
from .predict import (
    Seen,
    confusion,
    evaluation,
    predictions,
    write_csv,
)
from .preparation import Job
from .report import write_report
from .result import (
    NONE,
    REJECTED,
    Corrected,
    Evaluation,
    Prediction,
    Result,
)
from .said import Said
from .skew import skew_note
from .task import Task
from .trust import (
    reliability,
    strangeness,
    temperature_of,
    trust_of,
)

#: Curves about labels that a run finds itself.
OWN_LABELS = {'conf_ratio', 'pseudo_label_acc', 'loss_st'}
_NO_CURVES = {'step', 'iter', 'epoch', 'time', 'data_time', 'memory'}


def conclude(
    job: Job,
    before: Passes,
    corrected: Passes | None,
    answer: Answer,
    weights: Path,
    notes: dict[str, str],
    seconds: dict[str, float],
) -> Result:
    """Put together what is reported.

    Args:
        job: The run.
        before: What the start made of the images.
        corrected: The same of the result that is corrected, if one is.
        answer: What the runs make of them.
        weights: The exported network.
        notes: What is to be said of single images.
        seconds: Wall time of each stage.
    """
    task = job.task
    others = [one.said for one in (*answer.runs, answer.exported)]
    if corrected:
        others.append(corrected)
    images, before, others = without_gone(task, job.images, before, others)
    (seen, seen_labelled), *earlier = others[len(answer.runs) :]
    temperature = answer.exported.temperature
    alone = calibrated(seen.logits, temperature)
    probs = together(alone, images.names, answer)
    agreed = agreeing(answer.said, images.names, probs.argmax(dim=1))
    zero_shot = calibrated(before[0].logits, temperature_of(before[0]))
    measured, reliable = None, []
    if images.labelled:
        labels = [label for _, label in images.labelled]
        after = calibrated(seen_labelled.logits, temperature)
        measured = evaluation(labels, before[1].logits, after)
        reliable = reliability(after, labels, task.classes)
    found = predictions(
        task.folder,
        images.names,
        zero_shot,
        probs,
        agreed,
        strangeness(before[0]),
        notes,
        job.known.labels,
    )
    trust = trust_of(
        found,
        before[0],
        probs,
        answer.lesson,
        temperature,
        len(answer.said.votes),
        task.options.review,
        [p.name for p in found if p.note],
    )
    compared = beside(seen, earlier[0], images) if earlier else None
    # of a run: the labels of what they teach are not found while it trains
    curves = read_curves(answer.speaker.folder)
    if not answer.runs:
        # it was told the labels: these say nothing
        curves = {n: v for n, v in curves.items() if n not in OWN_LABELS}
    words = dict(
        job.words,
        threshold=f'{job.cfg.model.head.threshold:g}',
        temperature=f'{temperature:g}',
    )
    if len(answer.runs) > 1:
        words['exported run'] = answer.name
    return Result(
        folder=task.folder,
        classes=task.classes,
        predictions=found,
        skipped=images.skipped,
        evaluation=measured,
        curves=curves,
        settings=words,
        versions=installed_versions(),
        seconds=seconds,
        warnings=warnings_of(
            task, job.prior, images, found, measured, compared, curves
        )
        + list(answer.warnings)
        + labels_at_hand(job.out),
        fallback=fallback_of(answer.exported.folder),
        trust=replace(trust, reliability=reliable),
        corrected=compared,
        out=job.out,
        weights=weights,
    )


def together(
    alone: torch.Tensor, names: Sequence[str], answer: Answer
) -> torch.Tensor:
    """What the runs say, or half each a student and what taught it.

    It is right more often than the runs, and too sure of what it was taught;
    together they are about as right, and as sure as that. What taught a
    correction is the lesson: the runs did not know the labels.

    Args:
        alone: Calibrated probabilities of the exported network, (N, K): what
            is said of images that were not asked about.
        names: Paths of the images.
        answer: What the runs say.
    """
    source = answer.said if answer.runs else answer.lesson
    at = places(source.names, names)
    told, probs = at >= 0, alone.clone()
    theirs = source.probs[at[told]].to(alone)
    probs[told] = (alone[told] + theirs) / 2 if answer.taught else theirs
    return probs


def agreeing(
    said: Said, names: Sequence[str], labels: torch.Tensor
) -> torch.Tensor:
    """Share of the runs that say what is said in the end, (N,), in [0, 1].

    0 where no run was asked.
    """
    at = places(said.names, names)
    asked, agreed = at >= 0, torch.zeros(len(names), dtype=torch.double)
    agreed[asked] = agreement(said.votes[:, at[asked]], labels[asked])
    return agreed


def places(listed: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    """Where names are listed, (N,); -1 where they are not."""
    found = {name: place for place, name in enumerate(listed)}
    return torch.tensor([found.get(name, -1) for name in names])


def beside(now: Seen, before: Passes, images: Images) -> Corrected:
    """Compare a network with the one that was corrected."""
    seen, labelled = before
    true = [label for _, label in images.labelled]
    return Corrected(
        changed=int((now.labels != seen.labels).sum()),
        confusion=confusion(true, labelled.logits) if labelled else None,
    )


def labels_at_hand(out: Path) -> list[str]:
    """Say how to learn from a ``review.csv`` that was filled in."""
    path = out / 'review.csv'
    if not is_filled_in(path):
        return []
    return [
        f'there are labels in {path}, which were left as they are and not '
        f'learned from: {going_on(out)} '
        f'--labels {shlex.quote(str(path))}'
    ]


def write_result(result: Result) -> None:
    """Write ``predictions.csv``, ``review.csv`` and the page.

    A ``review.csv`` that somebody has labelled stays as it is.
    """
    out, classes = result.out, result.classes
    write_csv(result.predictions, classes, out / 'predictions.csv')
    if not is_filled_in(out / 'review.csv'):
        write_review(result.trust.review, classes, out / 'review.csv')
    write_report(result, out / 'report.html')


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
    prior: list[float] | None,
    images: Images,
    found: list[Prediction],
    measured: Evaluation | None,
    corrected: Corrected | None,
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
    trained = [p for p in found if p.note not in (REJECTED, NONE)]
    skewed = skew_note(
        [p.label for p in trained], task.classes, prior, balanced
    )
    if skewed:
        texts.append(skewed)
    confident = curves.get('conf_ratio', [])
    if confident and confident[-1][1] < 0.05:
        texts.append(
            'The model was sure of almost no image, so it learned little: '
            'label some images in the report, or use class names that '
            'describe what is in the photos'
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
        if corrected and corrected.confusion:
            before = Evaluation.accuracy(corrected.confusion)
            if after < before:
                texts.append(
                    f'the correction took the accuracy from {100 * before:.1f}'
                    f' to {100 * after:.1f} %: keep the result of before, in '
                    f'{task.options.after}'
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
