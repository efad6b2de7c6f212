"""Low-shot classification: a few labelled images per class."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from .checks import check_pair


class LowShot(NamedTuple):
    """Accuracies in [0, 1] over several draws of the labelled images."""

    mean: float
    std: float


def draw_shots(labels: np.ndarray, shots: int, seed: Sequence[int]):
    """Draw ``shots`` images of every class, without replacement.

    With one seed, fewer shots are a part of more shots.

    Args:
        labels: (N,), integers.
        shots: Images per class.
        seed: Seed of the draw.

    Returns:
        Indices of the drawn images, (classes * shots,).

    Raises:
        ValueError: If a class has fewer images than ``shots``.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < shots:
        scarce = counts.argmin()
        raise ValueError(
            f'{shots} images per class are asked for, class '
            f'{classes[scarce]} has {counts[scarce]}: lower shots or give '
            'more labelled images'
        )
    random = np.random.default_rng(seed)
    return np.concatenate(
        [
            random.permutation(np.flatnonzero(labels == name))[:shots]
            for name in classes
        ]
    )


def low_shot_accuracy(
    train: torch.Tensor,
    train_labels: torch.Tensor,
    test: torch.Tensor,
    test_labels: torch.Tensor,
    shots: Sequence[int] = (1, 2, 5),
    draws: int = 5,
    seed: int = 0,
    C: float = 1.0,
) -> dict[int, LowShot]:
    """Logistic regression (L2) on a few features per class.

    Args:
        train: Features to draw from, (N, D).
        train_labels: (N,), integers.
        test: Features to be judged on, (M, D).
        test_labels: (M,), integers.
        shots: Numbers of images per class.
        draws: Draws to average over.
        seed: Seed of the draws: the same images for every model.
        C: scikit-learn's inverse strength of the L2 regularisation; what is
            weak and what strong depends on the scale of the features.

    Returns:
        Mean and standard deviation of the accuracy for each number of shots.

    Raises:
        ValueError: If the features are unusable, there are fewer than two
            classes, or a class has fewer images than shots.
    """
    # imported here: it takes seconds, and most runs do not need it
    from sklearn.linear_model import LogisticRegression

    check_pair(train, train_labels, test, test_labels)
    if draws < 1 or not shots or min(shots) < 1:
        raise ValueError(
            f'low-shot evaluation needs draws >= 1 and shots >= 1, got '
            f'draws={draws} and shots={list(shots)}'
        )
    x, y = train.float().cpu().numpy(), train_labels.cpu().numpy()
    x_test, y_test = test.float().cpu().numpy(), test_labels.cpu().numpy()
    if len(np.unique(y)) < 2:
        raise ValueError('training features: two classes or more are needed')
    results = {}
    for number in shots:
        scores = []
        for draw in range(draws):
            chosen = draw_shots(y, number, (seed, draw))
            model = LogisticRegression(C=C, max_iter=1000)
            model.fit(x[chosen], y[chosen])
            scores.append(model.score(x_test, y_test))
        results[number] = LowShot(
            float(np.mean(scores)), float(np.std(scores))
        )
    return results
