"""What a result says: the sentences and rankings of the report."""

from collections import Counter
from typing import NamedTuple

from .result import NONE, Bins, Evaluation, Prediction, Result

LOST = 0.1  # of the fair share of a class, below which it is lost
CLOSE = 0.2  # lead of a class over its runner-up that is a close call


class ClassCount(NamedTuple):
    """Images given to a class, by either classifier."""

    name: str
    before: int
    after: int


class Confusion(NamedTuple):
    """Labelled images of one class (an index) that are taken for another."""

    true: int
    taken_for: int
    before: int
    after: int


class CloseCalls(NamedTuple):
    """Images for which two classes (indices) are nearly as probable."""

    one: int
    other: int
    images: int


def of_classes(predictions: list[Prediction]) -> list[Prediction]:
    """Leave out what a person said to be of none of the classes."""
    return [p for p in predictions if p.note != NONE]


def is_taught(result: Result) -> bool:
    """Whether labels of a person were trained on."""
    # they may all be of images that lie elsewhere
    by_hand = any(p.by_hand for p in result.predictions)
    return by_hand or 'labels by hand' in result.settings


def class_counts(result: Result) -> list[ClassCount]:
    """Count images for each class, the most frequent after first."""
    counted = of_classes(result.predictions)
    before = Counter(p.zero_shot for p in counted)
    after = Counter(p.label for p in counted)
    counts = [
        ClassCount(name, before[k], after[k])
        for k, name in enumerate(result.classes)
    ]
    return sorted(counts, key=lambda c: (-c.after, -c.before))


class ClassConfidence(NamedTuple):
    """How sure the images of one class are, on average, in [0, 1]."""

    name: str
    images: int
    confidence: float
    agreement: float


def class_confidence(result: Result) -> list[ClassConfidence]:
    """Average over the images of each class, the least sure first."""
    members: dict[int, list[Prediction]] = {}
    for found in of_classes(result.predictions):
        members.setdefault(found.label, []).append(found)
    rows = [
        ClassConfidence(
            result.classes[label],
            len(images),
            sum(p.confidence for p in images) / len(images),
            sum(p.agreement for p in images) / len(images),
        )
        for label, images in members.items()
    ]
    return sorted(rows, key=lambda row: (row.confidence, row.name))


def lost_classes(result: Result) -> list[ClassCount]:
    """Return classes of less than a tenth of an even share, the rarest first.

    Where an even share is five images at least.
    """
    fair = len(of_classes(result.predictions)) / len(result.classes)
    if fair < 5:
        return []
    rare = [c for c in class_counts(result) if c.after < LOST * fair]
    return sorted(rare, key=lambda c: (c.after, c.name))


def calibration_gap(bins: Bins) -> float:
    """Mean distance of confidence and accuracy, in [0, 1]."""
    rows = zip(bins.confidence, bins.accuracy, bins.count, strict=True)
    return sum(abs(c - a) * n for c, a, n in rows) / sum(bins.count)


def surest_changes(predictions: list[Prediction]) -> list[Prediction]:
    """Return the images whose class changed, most confident first."""
    changed = (p for p in predictions if p.changed)
    return sorted(changed, key=lambda p: (-p.confidence, p.name))


def confusions(evaluation: Evaluation) -> list[Confusion]:
    """Return the classes still taken for others, most images first."""
    found = (
        Confusion(true, other, evaluation.before[true][other], after)
        for true, row in enumerate(evaluation.after)
        for other, after in enumerate(row)
        if other != true and after
    )
    return sorted(found, key=lambda c: (-c.after, -c.before))


def close_calls(
    predictions: list[Prediction], lead: float = CLOSE
) -> list[CloseCalls]:
    """Count images whose class leads by little, the most frequent pair first.

    Args:
        predictions: One for each image.
        lead: Confidence minus that of the runner-up, below which it is close.
    """
    pairs = Counter(
        tuple(sorted((p.label, p.runner_up)))
        for p in predictions
        if p.confidence - p.runner_up_confidence < lead
    )
    found = [CloseCalls(*pair, images) for pair, images in pairs.items()]
    return sorted(found, key=lambda c: (-c.images, c.one, c.other))


def mean_confidence(predictions: list[Prediction]) -> tuple[float, float]:
    """Average the confidence before and after, in [0, 1]."""
    before = sum(p.zero_shot_confidence for p in predictions)
    after = sum(p.confidence for p in predictions)
    return before / len(predictions), after / len(predictions)


def headline(result: Result) -> str:
    """Say in a sentence what came out, in two after a correction."""
    total, corrected = len(result.predictions), result.corrected
    by_labels = ''
    if corrected:
        by_labels = (
            f' The correction changed the class of {corrected.changed:,} '
            f'{"image" if corrected.changed == 1 else "images"}.'
        )
    if result.evaluation is None:
        changed = sum(p.changed for p in result.predictions)
        before, after = map(percent, mean_confidence(result.predictions))
        return (
            f'{changed:,} of {total:,} images changed class (zero-shot and '
            f'adapted classifier agree on {percent(1 - changed / total)}); '
            f'mean confidence {_went(before, after)}.{by_labels}'
        )
    zero_shot, after = (
        Evaluation.accuracy(confusion)
        for confusion in (result.evaluation.before, result.evaluation.after)
    )
    before, beside = zero_shot, ''
    if corrected and corrected.confusion:
        before = Evaluation.accuracy(corrected.confusion)
        beside = f' (zero-shot: {percent(zero_shot)})'
    labelled = sum(map(sum, result.evaluation.after))
    return (
        f'On {labelled:,} labelled images, accuracy '
        f'{_went(percent(before), percent(after), after > before)}{beside}.'
        f'{by_labels}'
    )


def _went(before: str, after: str, up: bool | None = None) -> str:
    if before == after:
        return f'stayed at {after}'
    verb = {None: 'went', True: 'rose', False: 'fell'}[up]
    return f'{verb} from {before} to {after}'


def percent(share: float) -> str:
    """Write a share in per cent; only all is 100 %, only nothing is 0 %."""
    shown = f'{100 * share:.1f}'
    if shown == '100.0' and share < 1:
        return '>\N{NARROW NO-BREAK SPACE}99.9\N{NARROW NO-BREAK SPACE}%'
    if shown == '0.0' and share > 0:
        return '<\N{NARROW NO-BREAK SPACE}0.1\N{NARROW NO-BREAK SPACE}%'
    return f'{shown}\N{NARROW NO-BREAK SPACE}%'


def duration(seconds: float) -> str:
    """Write a time as one reads it: ``8.4 s``, ``3 min 20 s``, ``2 h 5 min``.

    Args:
        seconds: Not negative.
    """
    if seconds < 59.95:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest} s'
    return f'{minutes // 60} h {minutes % 60} min'
