"""Temperatures, and what they are judged by: known cases, invariants."""

import pytest
import torch

from must_mm.evaluation.calibration import (
    COLDEST,
    area_under_risk_coverage,
    brier_score,
    calibrated,
    expected_calibration_error,
    fit_temperature,
    mix,
    mixed_pairs,
    reliability,
    top,
)


def drawn(scale: float, count: int = 20_000, classes: int = 4):
    """Logits whose softmax at temperature ``scale`` is the truth."""
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(count, classes, generator=generator)
    truth = (logits / scale).softmax(1)
    labels = torch.multinomial(truth, 1, generator=generator)[:, 0]
    return logits, labels, truth


@pytest.mark.parametrize('scale', [0.5, 1.0, 8.0])
def test_the_temperature_that_made_the_labels_is_found(scale):
    """From labels within sampling noise of 20,000, from shares exactly."""
    logits, labels, truth = drawn(scale)
    assert fit_temperature(logits, labels) == pytest.approx(scale, rel=0.05)
    assert fit_temperature(logits, truth) == pytest.approx(scale, rel=1e-5)


def test_it_is_the_minimum_of_the_cross_entropy():
    logits, labels, _ = drawn(3.0, 500)
    best = fit_temperature(logits, labels)

    def entropy(temperature):
        chosen = calibrated(logits, temperature).gather(1, labels[:, None])
        return -chosen.log().mean().item()

    assert entropy(best) <= min(entropy(0.97 * best), entropy(1.03 * best))


def test_temperatures_have_an_end():
    """All right at once: the colder, the better."""
    logits = torch.eye(3) * 10
    found = fit_temperature(logits, torch.arange(3))
    assert found == pytest.approx(COLDEST, rel=1e-6)
    with pytest.raises(ValueError, match='no image'):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0).long())


def test_calibration_lowers_the_error_and_keeps_the_order():
    logits, labels, _ = drawn(8.0)
    raw = logits.softmax(1)
    after = calibrated(logits, fit_temperature(logits, labels))
    assert expected_calibration_error(raw, labels) > 0.15
    assert expected_calibration_error(after, labels) < 0.02
    assert brier_score(after, labels) < brier_score(raw, labels)
    assert torch.equal(raw.argmax(1), after.argmax(1))


def test_reliability_by_hand():
    confidence = torch.tensor([0.55, 0.58, 0.91, 1.0])
    right = torch.tensor([True, False, True, True])
    found = reliability(confidence, right)
    assert found.count.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 2]
    assert found.accuracy[5] == 0.5 and found.accuracy[9] == 1
    torch.testing.assert_close(
        found.confidence[[5, 9]], torch.tensor([0.565, 0.955]).double()
    )


def test_scores_by_hand():
    probs = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    labels = torch.tensor([0, 0])
    # |0.8 - 1| and |0.6 - 0|, half of the images each
    assert expected_calibration_error(probs, labels) == pytest.approx(0.4)
    assert brier_score(probs, labels) == pytest.approx((0.08 + 0.72) / 2)
    confidence, right = top(probs, labels)
    # 0 of 1 wrong, then 1 of 2
    assert area_under_risk_coverage(confidence, right) == pytest.approx(0.25)
    assert area_under_risk_coverage(-confidence, right) == 0.75


def test_risk_coverage_asks_for_the_order_alone():
    confidence = torch.rand(100, generator=torch.Generator().manual_seed(1))
    right = confidence > 0.3
    best = area_under_risk_coverage(confidence, right)
    assert best == area_under_risk_coverage(confidence.pow(9), right)
    assert best < area_under_risk_coverage(confidence.flip(0), right)


def test_pairs_have_different_classes():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    first, second = mixed_pairs(labels, torch.Generator().manual_seed(0))
    assert (labels[first] != labels[second]).all()
    assert first.sort().values.tolist() == list(range(100))
    one = mixed_pairs(torch.zeros(8).long())
    assert [len(part) for part in one] == [0, 0]


def test_most_of_one_class_leaves_pairs():
    labels = torch.tensor([0] * 90 + [1] * 10)
    first, second = mixed_pairs(labels)
    assert len(first) == 20  # each of the ten twice
    assert (labels[first] != labels[second]).all()


def test_mixing():
    one, other = torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    assert torch.equal(mix(one, other, 0.65), 0.65 * one)
