"""Weights by confidence: the papers' formulas by hand.

Tolerance 1e-6 relative: float32, a handful of operations.
"""

import math

import pytest
import torch

from must_mm.models.sample_weights import (
    SelfAdaptiveThreshold,
    TruncatedGaussianWeights,
    truncated_gaussian,
)
from tests.models.starts import start_statistics

PROBS = torch.tensor(
    [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]]
)
CONFIDENCE = [0.9, 0.7, 0.4, 0.8]  # mean 0.7, variance 0.14 / 3


def test_truncated_gaussian_by_hand():
    found = truncated_gaussian(
        torch.tensor(CONFIDENCE), torch.tensor(0.7), torch.tensor(0.04)
    )
    # 0.3 below the mean: exp(-0.09 / (2 * 0.04 / 4))
    expected = torch.tensor([1.0, 1.0, math.exp(-4.5), 1.0])
    torch.testing.assert_close(found, expected)


def test_truncated_gaussian_is_monotone_and_bounded():
    confidence = torch.linspace(0, 1, 101)
    weights = truncated_gaussian(
        confidence, torch.tensor(0.6), torch.tensor(0.02)
    )
    assert (weights.diff() >= 0).all()
    assert 0 <= weights.min() and weights.max() == 1
    assert (weights[confidence >= 0.6] == 1).all()


def test_equal_confidences_all_count():
    """Without any variance there is no flank."""
    found = truncated_gaussian(
        torch.tensor([0.5, 0.4]), torch.tensor(0.5), torch.tensor(0.0)
    )
    assert found.tolist() == [1, 0]


def test_statistics_follow_then_weigh():
    part = TruncatedGaussianWeights(3, momentum=0.5)
    assert part.mean == pytest.approx(1 / 3) and part.variance == 1
    found = part(PROBS)
    mean, variance = (1 / 3 + 0.7) / 2, (1 + 0.14 / 3) / 2
    assert part.mean.item() == pytest.approx(mean)
    assert part.variance.item() == pytest.approx(variance)
    torch.testing.assert_close(
        found,
        truncated_gaussian(
            torch.tensor(CONFIDENCE),
            torch.tensor(mean),
            torch.tensor(variance),
        ),
    )


def test_a_batch_of_one_leaves_the_variance():
    """Its own is NaN, which would stay for good."""
    part = TruncatedGaussianWeights(3, momentum=0.5)
    part.begin(start_statistics(PROBS[:1]))
    assert part.variance == 1
    part(PROBS)
    before = part.variance.clone()
    found = part(PROBS[2:3])
    assert torch.equal(part.variance, before)
    mean = part.mean.item()
    assert mean == pytest.approx((0.9 + 0.7) / 4 + 0.4 / 2)
    expected = math.exp(-2 * (0.4 - mean) ** 2 / before.item())
    assert found.item() == pytest.approx(expected)


def test_threshold_follows_then_decides():
    part = SelfAdaptiveThreshold(3, momentum=0.5)
    found = part(PROBS)
    # (1/3 + 0.7) / 2 = 0.517: all but the third
    assert part.mean.item() == pytest.approx((1 / 3 + 0.7) / 2)
    assert found.tolist() == [1, 1, 0, 1]
    part.mean.fill_(0.7)
    # strictly above a mean that stays at 0.7
    assert part(PROBS).tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    'kind', [TruncatedGaussianWeights, SelfAdaptiveThreshold]
)
def test_they_begin_with_the_start(kind):
    part = kind(3, momentum=0.0)
    part.begin(start_statistics(PROBS))
    assert part.mean.item() == pytest.approx(0.7)
    if kind is TruncatedGaussianWeights:
        assert part.variance.item() == pytest.approx(0.14 / 3)


@pytest.mark.parametrize('options, key', [(dict(momentum=1.0), 'momentum')])
def test_errors_name_the_key(options, key):
    for kind in (TruncatedGaussianWeights, SelfAdaptiveThreshold):
        with pytest.raises(
            ValueError, match=rf'pseudo_labels\.weights\.{key}'
        ):
            kind(3, **options)
    with pytest.raises(ValueError, match='weights.sharpness'):
        TruncatedGaussianWeights(3, sharpness=0)
