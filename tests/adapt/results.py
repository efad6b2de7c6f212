"""Results for the tests of what is made of them."""

from pathlib import Path

from must_mm.adapt.result import Prediction, Result


def prediction(
    before: int,
    after: int,
    confidence: float = 0.9,
    name: str = 'a.png',
    path: Path = Path('gone.png'),
    runner_up: int | None = None,
    runner_up_confidence: float = 0.05,
) -> Prediction:
    """One image; by default the runner-up is the class before, or class 0."""
    return Prediction(
        path=path,
        name=name,
        zero_shot=before,
        zero_shot_confidence=0.5,
        label=after,
        confidence=confidence,
        runner_up=before if runner_up is None else runner_up,
        runner_up_confidence=runner_up_confidence,
    )


def two_images(**changes) -> Result:
    """The smallest result: two images, nothing changed, nothing logged."""
    result = dict(
        folder=Path('photos'),
        classes=['ant', 'bee'],
        predictions=[prediction(0, 0), prediction(1, 1)],
    )
    return Result(**(result | changes))
