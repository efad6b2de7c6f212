"""Low-shot classification against scikit-learn, called directly."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from must_mm.evaluation import low_shot_accuracy
from must_mm.evaluation.low_shot import draw_shots


@pytest.fixture(scope='module')
def data():
    """Four classes of 10 images to draw from; 100 to judge."""
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 6, generator=random)
    labels = torch.arange(140) % 4
    features = centres[labels] + torch.randn(140, 6, generator=random)
    return features[:40], labels[:40], features[40:], labels[40:]


def test_draws_are_balanced_nested_and_seeded(data):
    labels = data[1].numpy()
    five = draw_shots(labels, 5, (0, 0))
    assert np.bincount(labels[five]).tolist() == [5, 5, 5, 5]
    assert len(set(five.tolist())) == 20
    assert set(draw_shots(labels, 2, (0, 0))) < set(five)
    assert five.tolist() == draw_shots(labels, 5, (0, 0)).tolist()
    assert set(five) != set(draw_shots(labels, 5, (0, 1)))


@pytest.mark.parametrize('C', [0.01, 1.0])
def test_equals_scikit_learn(data, C):
    x, y, x_test, y_test = (part.numpy() for part in data)
    found = low_shot_accuracy(*data, shots=(1, 5), draws=3, seed=7, C=C)
    for shots in (1, 5):
        scores = []
        for draw in range(3):
            chosen = draw_shots(y, shots, (7, draw))
            model = LogisticRegression(C=C, max_iter=1000)
            scores.append(
                model.fit(x[chosen], y[chosen]).score(x_test, y_test)
            )
        assert found[shots].mean == pytest.approx(np.mean(scores))
        assert found[shots].std == pytest.approx(np.std(scores))
    assert found[1].std > 0 and found[5].mean > found[1].mean


def test_all_images_leave_no_choice(data):
    """Every draw of 10 of 10 is the regression on everything."""
    x, y, x_test, y_test = (part.numpy() for part in data)
    found = low_shot_accuracy(*data, shots=[10], draws=2)[10]
    model = LogisticRegression(max_iter=1000).fit(x, y)
    # the order of the images may move one that lies on the border
    assert found.mean == pytest.approx(model.score(x_test, y_test), abs=0.011)
    assert found.std <= 0.006


def test_default_shots(data):
    assert list(low_shot_accuracy(*data, draws=1)) == [1, 2, 5]


def test_scarce_class_is_named(data):
    train, labels, test, test_labels = data
    keep = torch.cat([torch.where(labels != 2)[0], torch.tensor([2, 6])])
    with pytest.raises(ValueError, match='5 images .* class 2 has 2'):
        low_shot_accuracy(train[keep], labels[keep], test, test_labels)


def test_unusable_input_says_so(data):
    train, labels, test, test_labels = data
    with pytest.raises(ValueError, match='labels are missing'):
        low_shot_accuracy(train, labels, test, None)
    with pytest.raises(ValueError, match='two classes or more'):
        low_shot_accuracy(train, labels * 0, test, test_labels)
    for options in (dict(draws=0), dict(shots=(0,)), dict(shots=())):
        with pytest.raises(ValueError, match='needs draws >= 1'):
            low_shot_accuracy(*data, **options)
