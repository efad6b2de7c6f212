"""What an adaptation leaves: the content of table and report."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from must_mm_cli.options import going_on

SAVED = '~/Downloads/review.csv'  # where browsers usually put it
# what a note can be; the latter two are a person's
REJECTED, LABELLED, NONE = 'rejected', 'labelled', 'none'


@dataclass(frozen=True)
class Prediction:
    """What zero-shot and adapted classifier say of one image.

    Attributes:
        path: The image.
        name: Its path below the folder that was given.
        zero_shot: Index of the class before.
        zero_shot_confidence: Its probability, in [0, 1].
        label: Index of the class after.
        confidence: Its probability, in [0, 1].
        runner_up: Index of the second most probable class after.
        runner_up_confidence: Its probability, in [0, 1].
        agreement: Share of the runs that say the same, in [0, 1].
        strangeness: Share of the images that look more like one of the
            classes, in [0, 1].
        note: ``'rejected'`` if it was not trained on, ``'labelled'`` if the
            class is what a person said, ``'none'`` if a person said that it
            is of none of the classes.
    """

    path: Path
    name: str
    zero_shot: int
    zero_shot_confidence: float
    label: int
    confidence: float
    runner_up: int
    runner_up_confidence: float
    agreement: float = 1.0
    strangeness: float = 0.0
    note: str = ''

    @property
    def changed(self) -> bool:
        """Whether the class is another than before."""
        return self.label != self.zero_shot

    @property
    def by_hand(self) -> bool:
        """Whether a person has said what it is."""
        return self.note in (LABELLED, NONE)


@dataclass(frozen=True)
class ToReview:
    """An image whose label would teach much.

    Attributes:
        prediction: What is said of it.
        guesses: Most probable classes, the first one first.
    """

    prediction: Prediction
    guesses: list[int]


@dataclass(frozen=True)
class Bins:
    """Confidence beside accuracy, for bins of confidence that are not empty.

    Attributes:
        name: Of the class that is predicted, or of all together.
        confidence: Mean confidence of each, in [0, 1].
        accuracy: Share of right predictions, in [0, 1].
        count: Images in it.
    """

    name: str
    confidence: list[float]
    accuracy: list[float]
    count: list[int]


@dataclass(frozen=True)
class Trust:
    """What a result says of itself.

    Attributes:
        temperature: By which the logits were divided.
        runs: How many runs were asked.
        review: Images to be labelled, the most useful first.
        strangers: Images that may be of none of the classes, those that look
            least like one first.
        duplicates: Groups of images that show the same.
        reliability: On labelled images, for all classes and for each.
    """

    temperature: float = 1.0
    runs: int = 1
    review: list[ToReview] = field(default_factory=list)
    strangers: list[Prediction] = field(default_factory=list)
    duplicates: list[list[Prediction]] = field(default_factory=list)
    reliability: list[Bins] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluation:
    """Confusion counts on labelled images, ``[true][predicted]``, (K, K).

    Attributes:
        before: Of the zero-shot classifier.
        after: Of the adapted one.
    """

    before: list[list[int]]
    after: list[list[int]]

    @staticmethod
    def accuracy(confusion: list[list[int]]) -> float:
        """Share of the images on the diagonal, in [0, 1]."""
        right = sum(row[i] for i, row in enumerate(confusion))
        return right / sum(map(sum, confusion))


@dataclass(frozen=True)
class Corrected:
    """What a correction has made of the result that it went on from.

    Attributes:
        changed: Images that the network gives another class than before.
        confusion: Of the classifier of before, on labelled images, if there
            are any; as in :class:`Evaluation`.
    """

    changed: int
    confusion: list[list[int]] | None = None


@dataclass(frozen=True)
class Result:
    """One adaptation.

    Attributes:
        folder: The folder of images.
        classes: Names of the K classes.
        predictions: One for each readable image.
        skipped: Unreadable images, with the reason.
        evaluation: On labelled images, if any were given.
        curves: Scalars logged while training, by name, as (step, value).
        settings: What was run, in words, by name.
        versions: Of Python and the packages.
        seconds: Wall time of each stage.
        warnings: What the reader should know before trusting the result.
        fallback: Where self-training has collapsed: what was seen of it, and
            what is exported instead, in words.
        trust: What the result says of itself.
        corrected: Beside the result that was corrected, if one was.
        out: Folder of the results, for the command that goes on from them.
        weights: The exported network.
    """

    folder: Path
    classes: list[str]
    predictions: list[Prediction]
    skipped: dict[str, str] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    fallback: str = ''
    trust: Trust = field(default_factory=Trust)
    corrected: Corrected | None = None
    out: Path | None = None
    weights: Path | None = None


def summary(result: Result, out: Path) -> str:
    """What is said at the end: the outcome, the files, how to use them."""
    network = result.settings['exported network']
    changed = sum(p.changed for p in result.predictions)
    lines = [result.fallback] if result.fallback else []
    lines.append(
        f'{changed} of {len(result.predictions)} images changed class'
    )
    corrected = result.corrected
    if corrected:
        lines[-1] += f'; {corrected.changed} by this correction'
    if result.evaluation:
        before, after = map(
            Evaluation.accuracy,
            (result.evaluation.before, result.evaluation.after),
        )
        between = ''
        if corrected and corrected.confusion:
            earlier = Evaluation.accuracy(corrected.confusion)
            between = f'{100 * earlier:.2f} % before this correction, '
        lines.append(
            f'accuracy: {100 * before:.2f} % zero-shot, {between}'
            f'{100 * after:.2f} % adapted ({network})'
        )
    lines += [f'note: {text}' for text in result.warnings]
    if result.trust.review:
        lines.append(
            f'{len(result.trust.review)} images would teach most: label them '
            'in report.html and save; the browser puts review.csv where it '
            'puts downloads, usually in Downloads. Then\n'
            f'  {going_on(out)} --labels {SAVED}\n'
            f'or fill in {out / "review.csv"} and give that file'
        )
    files = ('report.html', 'predictions.csv', 'review.csv')
    lines += [f'{out / name}' for name in files]
    lines.append(
        'to classify more photos with it:\n'
        f'  must-adapt NEWPHOTOS --predict {shlex.quote(str(out))}'
    )
    return '\n'.join([*lines, 'in Python:', load_lines(result.weights)])


def load_lines(weights: Path) -> str:
    """Lines of Python that load the exported network and an image."""
    return (
        'from mmpretrain import ImageClassificationInferencer\n'
        'from must_mm.transforms.loading import read_image\n'
        'classify = ImageClassificationInferencer('
        f'{str(weights.with_suffix(".py"))!r}, {str(weights)!r})\n'
        "print(classify(read_image('photo.jpg'))[0]['pred_class'])"
    )
