"""The page an adaptation leaves: one file that needs nothing else."""

import hashlib
import os
import shlex
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import charts, findings
from .result import (
    SAVED,
    Bins,
    Evaluation,
    Prediction,
    Result,
    ToReview,
    Trust,
)
from .thumbnail import thumbnail

#: How much the page shows of each, so that it stays small.
CLASSES, CHANGES, PAIRS, SKIPPED = 30, 24, 10, 1000
STRANGERS, COPIES, DIAGRAMS = 12, 12, 24
NAMES_LISTED = 2000  # classes offered while one is typed
#: Curves that are drawn: title, what it says, bounds of the axis.
CURVES = {
    'conf_ratio': (
        'Confident pseudo-labels',
        'Share of the images whose pseudo-label was trusted.',
        (0.0, 1.0),
    ),
    'pseudo_label_acc': (
        'Right among the confident',
        'Share of the trusted pseudo-labels that agree with the labels, '
        'which training does not see.',
        (0.0, 1.0),
    ),
    'class_growth': (
        'Largest growth of a class',
        'Its share of the labels that training is sure of, over its due; it '
        'stops at 3.',
        None,
    ),
    'start_disagreement': (
        "Labels that are not the start's",
        'Share of the images that training labels otherwise than the '
        'zero-shot classifier.',
        (0.0, 1.0),
    ),
    'loss': ('Loss', 'All terms together.', None),
    'loss_st': (
        'Self-training loss',
        'How far predictions are from the trusted pseudo-labels.',
        None,
    ),
    'loss_lab': (
        'Loss on labels',
        'How far predictions are from labels of yours, and what they teach.',
        None,
    ),
    'loss_fair': (
        'Fairness loss',
        'How unevenly predictions spread over the classes.',
        None,
    ),
    'loss_mim': (
        'Reconstruction loss',
        'How far hidden parts of the images are from what is painted there.',
        None,
    ),
    'loss_align': (
        'Alignment loss',
        'How far what a part shows is from what the whole image shows.',
        None,
    ),
}


def write_report(result: Result, path: Path) -> None:
    """Write a result as one HTML file.

    The file loads nothing: style, charts and small copies of some images are
    inside. Its size does not grow with the number of images. Of the curves it
    draws those named in :data:`CURVES`.

    Args:
        result: What to show.
        path: The file; one that is there is replaced.

    Raises:
        ValueError: If the result holds no prediction.
        OSError: If the file cannot be written.
    """
    if not result.predictions:
        raise ValueError(
            'result.predictions is empty: a report needs one image at least'
        )
    # a file name that is not Unicode is shown with escapes
    Path(path).write_text(
        render(result), encoding='utf-8', errors='backslashreplace'
    )


def render(result: Result) -> str:
    """Return the page of a result that has predictions."""
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters['percent'] = findings.percent
    environment.filters['quote'] = shlex.quote
    counts = findings.class_counts(result)
    changes = findings.surest_changes(result.predictions)
    skipped = list(result.skipped.items())
    trust = result.trust
    return environment.get_template('report.html.j2').render(
        result=result,
        title=result.folder.resolve().name or str(result.folder),
        headline=findings.headline(result),
        accuracy=_accuracy(result.evaluation),
        taught=findings.is_taught(result),
        out=str(result.out or 'DIR'),
        saved=SAVED,
        confidence=findings.mean_confidence(result.predictions),
        counts=counts[:CLASSES],
        more_counts=counts[CLASSES:],
        longest=max(max(c.before, c.after) for c in counts),
        curves=_curves(result.curves),
        own_labels='conf_ratio' in result.curves,
        box=charts,
        changed=len(changes),
        changes=[_change(p, result.classes) for p in changes[:CHANGES]],
        confusions=result.evaluation
        and findings.confusions(result.evaluation),
        close_calls=findings.close_calls(result.predictions),
        lead=findings.CLOSE,
        pairs=PAIRS,
        lost=findings.lost_classes(result),
        sure=findings.class_confidence(result),
        review=[_to_review(image, result.classes) for image in trust.review],
        review_data=_review_data(result),
        offered=result.classes[:NAMES_LISTED],
        strangers=[_picture(p) for p in trust.strangers[:STRANGERS]],
        duplicates=[
            [_picture(p) for p in group[:2]] + [len(group)]
            for group in trust.duplicates[:COPIES]
        ],
        extra_copies=sum(len(group) - 1 for group in trust.duplicates),
        diagrams=_diagrams(trust),
        skipped=skipped[:SKIPPED],
        more_skipped=len(skipped[SKIPPED:]),
        times=_times(result.seconds),
    )


def _accuracy(evaluation: Evaluation | None) -> tuple[float, float] | None:
    return evaluation and (
        Evaluation.accuracy(evaluation.before),
        Evaluation.accuracy(evaluation.after),
    )


def _curves(curves: dict[str, list[tuple[int, float]]]) -> list[dict]:
    drawn = []
    for name, (title, meaning, bounds) in CURVES.items():
        chart = charts.line_chart(curves.get(name, []), bounds)
        if chart is not None:
            drawn.append(
                dict(
                    name=name,
                    title=title,
                    meaning=meaning,
                    share=bounds is not None,
                    chart=chart,
                )
            )
    return drawn


def _picture(prediction: Prediction) -> dict:
    return dict(
        name=prediction.name,
        image=thumbnail(prediction.path),
        label=prediction.label,
        confidence=prediction.confidence,
    )


def _to_review(image: ToReview, classes: list[str]) -> dict:
    found = image.prediction
    return dict(
        name=found.name,
        image=thumbnail(found.path),
        confidence=found.confidence,
        agreement=found.agreement,
        guesses=[classes[k] for k in image.guesses],
    )


def _review_data(result: Result) -> dict:
    """What the page's script knows: no markup, only names and numbers."""
    images = [
        dict(
            path=image.prediction.name,
            confidence=image.prediction.confidence,
            agreement=image.prediction.agreement,
            guesses=image.guesses,
        )
        for image in result.trust.review
    ]
    # another result in the same place keeps labels of its own
    key = '\n'.join([str(result.out), *(image['path'] for image in images)])
    return dict(
        images=images,
        classes=result.classes,
        key=hashlib.sha256(os.fsencode(key)).hexdigest()[:16],
    )


def _diagrams(trust: Trust) -> list[dict]:
    """Reliability diagrams: all classes together, then the largest ones."""
    together, each = trust.reliability[:1], trust.reliability[1:]
    each = sorted(each, key=lambda bins: -sum(bins.count))[: DIAGRAMS - 1]
    return [
        dict(
            name=bins.name,
            images=sum(bins.count),
            points=_points(bins),
            gap=findings.calibration_gap(bins),
        )
        for bins in together + each
    ]


def _points(bins: Bins) -> list[tuple[float, float, float]]:
    """Places and radius of the points, in the diagram's units of 100."""
    most = max(bins.count)
    return [
        (100 * c, 100 * (1 - a), 2 + 5 * (n / most) ** 0.5)
        for c, a, n in zip(
            bins.confidence, bins.accuracy, bins.count, strict=True
        )
    ]


def _change(prediction: Prediction, classes: list[str]) -> dict:
    return dict(
        name=prediction.name,
        before=classes[prediction.zero_shot],
        before_confidence=prediction.zero_shot_confidence,
        after=classes[prediction.label],
        confidence=prediction.confidence,
        image=thumbnail(prediction.path),
    )


def _times(seconds: dict[str, float]) -> dict[str, str]:
    times = {stage: findings.duration(s) for stage, s in seconds.items()}
    if len(times) > 1:
        times['together'] = findings.duration(sum(seconds.values()))
    return times
