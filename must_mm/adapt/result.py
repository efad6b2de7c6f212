"""What an adaptation leaves: the content of table and report."""

from dataclasses import dataclass, field
from pathlib import Path


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
    """

    path: Path
    name: str
    zero_shot: int
    zero_shot_confidence: float
    label: int
    confidence: float
    runner_up: int
    runner_up_confidence: float

    @property
    def changed(self) -> bool:
        """Whether the class is another than before."""
        return self.label != self.zero_shot


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


def summary(result: Result, out: Path) -> str:
    """What is said at the end: the outcome, the files, how to use them."""
    network = result.settings['exported network']
    changed = sum(p.changed for p in result.predictions)
    lines = [f'{changed} of {len(result.predictions)} images changed class']
    if result.evaluation:
        before, after = map(
            Evaluation.accuracy,
            (result.evaluation.before, result.evaluation.after),
        )
        lines.append(
            f'accuracy: {100 * before:.2f} % zero-shot, {100 * after:.2f} % '
            f'adapted ({network})'
        )
    lines += [f'note: {text}' for text in result.warnings]
    lines += [f'{out / name}' for name in ('report.html', 'predictions.csv')]
    return '\n'.join([*lines, 'in Python:', load_lines(out)])


def load_lines(out: Path) -> str:
    """Three lines of Python that load the exported model."""
    (weights,) = out.glob('model-*.pth')
    return (
        'from mmpretrain import ImageClassificationInferencer\n'
        'classify = ImageClassificationInferencer('
        f"'{weights.with_suffix('.py')}', '{weights}')\n"
        "print(classify('photo.jpg')[0]['pred_class'])"
    )
