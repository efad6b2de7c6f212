"""The page an adaptation leaves: one file that needs nothing else."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import charts, findings
from .result import Evaluation, Prediction, Result
from .thumbnail import thumbnail

#: How much the page shows of each, so that it stays small.
CLASSES, CHANGES, PAIRS, SKIPPED = 30, 24, 10, 1000
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
    'loss': ('Loss', 'All terms together.', None),
    'loss_st': (
        'Self-training loss',
        'How far predictions are from the trusted pseudo-labels.',
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
    counts = findings.class_counts(result)
    changes = findings.surest_changes(result.predictions)
    skipped = list(result.skipped.items())
    return environment.get_template('report.html.j2').render(
        result=result,
        title=result.folder.resolve().name or str(result.folder),
        headline=findings.headline(result),
        accuracy=_accuracy(result.evaluation),
        confidence=findings.mean_confidence(result.predictions),
        counts=counts[:CLASSES],
        more_counts=counts[CLASSES:],
        longest=max(max(c.before, c.after) for c in counts),
        curves=_curves(result.curves),
        box=charts,
        changed=len(changes),
        changes=[_change(p, result.classes) for p in changes[:CHANGES]],
        confusions=result.evaluation
        and findings.confusions(result.evaluation),
        close_calls=findings.close_calls(result.predictions),
        lead=findings.CLOSE,
        pairs=PAIRS,
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
