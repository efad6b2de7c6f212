"""Scores of images of no class: higher for them, by construction."""

import pytest
import torch
from sklearn.metrics import roc_auc_score

from must_mm.evaluation.outliers import (
    auroc,
    energy,
    neighbour_distance,
    prototype_distance,
    text_distance,
)


@pytest.fixture
def data():
    """Three tight classes of 20 on axes of their own, five images apart."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.eye(8)
    inside = axes[:3].repeat_interleave(20, 0)
    outside = axes[3:]
    features = torch.cat([inside, outside])
    features = features + 0.05 * torch.randn(65, 8, generator=generator)
    return features, axes[:3], torch.arange(65) >= 60


def test_what_is_of_no_class_scores_higher(data):
    features, classifier, outlier = data
    logits = 10 * features @ classifier.T
    for score in (
        text_distance(features, classifier),
        energy(logits),
        prototype_distance(features, logits.softmax(1)),
        neighbour_distance(features),
    ):
        assert score.shape == (65,)
        assert auroc(score, outlier) == 1


def test_length_does_not_matter(data):
    features, classifier, _ = data
    probs = (features @ classifier.T).softmax(1)
    for score in (
        lambda f: text_distance(f, classifier),
        lambda f: prototype_distance(f, probs),
        neighbour_distance,
    ):
        torch.testing.assert_close(score(features), score(7 * features))


def test_energy_by_hand():
    logits = torch.log(torch.tensor([[1.0, 3.0]]))
    torch.testing.assert_close(energy(logits), -torch.log(torch.tensor([4.0])))


def test_few_neighbours():
    assert neighbour_distance(torch.eye(2)).tolist() == [1, 1]


def test_auroc_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(10, (200,), generator=generator)  # with ties
    outlier = torch.rand(200, generator=generator) < 0.2
    expected = roc_auc_score(outlier, scores)
    assert auroc(scores, outlier) == pytest.approx(expected)
