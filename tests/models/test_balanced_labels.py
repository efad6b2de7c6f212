"""Balanced labels: the equation they solve, and what they find in it."""

import pytest
import torch

from must_mm.models.balanced_labels import BalancedLabels
from must_mm.models.class_prior import balancing_shift
from must_mm.models.distribution_alignment import align_distribution
from tests.models.starts import start_statistics


def biased(count: int = 600, seed: int = 0):
    """Logits of three classes, the first of which is preferred; labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    logits = 2 * torch.randn(count, 3, generator=generator)
    logits[torch.arange(count), labels] += 3
    logits[:, 0] += 3
    return logits, labels


@pytest.mark.parametrize('prior', [[1 / 3] * 3, [0.6, 0.3, 0.1]])
def test_the_mean_becomes_the_prior(prior):
    """Within 1e-4 after 100 steps; float32 could do 1e-7."""
    prior = torch.tensor(prior)
    logits, _ = biased()
    shift = balancing_shift(logits, prior, torch.zeros(3), steps=100)
    mean = (logits + shift).softmax(1).mean(0)
    torch.testing.assert_close(mean, prior, rtol=0, atol=1e-4)
    assert shift.mean().abs() < 1e-5


def test_every_step_comes_closer():
    prior = torch.full((3,), 1 / 3)
    logits, _ = biased()
    shift, last = torch.zeros(3), float('inf')
    for _ in range(15):
        distance = (
            ((logits + shift).softmax(1).mean(0) - prior).abs().sum().item()
        )
        assert distance < last
        last = distance
        shift = balancing_shift(logits, prior, shift, steps=1)


def test_one_step_is_distribution_alignment():
    """With exponent 1: what a running mean does once, this does to the end."""
    logits, _ = biased()
    prior = torch.full((3,), 1 / 3)
    probs = logits.softmax(1)
    shift = balancing_shift(logits, prior, torch.zeros(3), steps=1)
    torch.testing.assert_close(
        (logits + shift).softmax(1),
        align_distribution(probs, probs.mean(0), prior),
    )


def test_a_preferred_class_is_no_longer():
    """More labels are right than with the running mean, which stops short."""
    logits, labels = biased()
    probs = logits.softmax(1)
    part = BalancedLabels(3, size=600, steps=30)
    found = part(probs)
    prior = torch.full((3,), 1 / 3)
    aligned = align_distribution(probs, probs.mean(0), prior)

    def right(q):
        return (q.argmax(1) == labels).float().mean()

    assert right(probs) + 0.03 < right(aligned) < right(found)
    assert ((found.argmax(1) == 0).float().mean() - 1 / 3).abs() < 0.05


def test_half_the_strength_goes_half_the_way():
    """In logits; none at all leaves the labels alone."""
    logits, _ = biased()
    probs = logits.softmax(1)
    whole = BalancedLabels(3, size=600, steps=30)
    half = BalancedLabels(3, size=600, steps=30, strength=0.5)
    whole(probs)
    torch.testing.assert_close(
        half(probs), (logits + whole.shift / 2).softmax(1)
    )
    none = BalancedLabels(3, size=600, strength=0)
    torch.testing.assert_close(none(probs), probs)


def test_the_oldest_predictions_are_replaced():
    part = BalancedLabels(2, size=5)
    rows = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    part(rows)
    part(rows.flip(1))
    # five places: the fourth to sixth row, and the second and third
    first = part.bank.exp()[:, 0]
    torch.testing.assert_close(first, torch.tensor([0.7, 0.2, 0.3, 0.9, 0.8]))
    assert part.oldest == 1
    # more than there is room for: the last ones
    part(
        torch.linspace(0.01, 0.99, 7)[:, None] * torch.tensor([[1.0, 0]])
        + 0.005
    )
    assert part.oldest == 1


def test_it_begins_with_the_start():
    logits, _ = biased(30)
    probs = logits.softmax(1)
    part = BalancedLabels(3, size=64)
    part.begin(start_statistics(probs))
    torch.testing.assert_close(part.bank[:30].exp(), probs)
    torch.testing.assert_close(part.bank[30:60].exp(), probs)
    mean = (part.bank + part.shift).softmax(1).mean(0)
    torch.testing.assert_close(
        mean, torch.full((3,), 1 / 3), rtol=0, atol=0.01
    )


def test_certain_predictions_stay_what_they_are():
    """A probability of 0 has no logarithm."""
    part = BalancedLabels(3, size=8)
    found = part(torch.eye(3))
    assert found.isfinite().all()
    torch.testing.assert_close(found, torch.eye(3))


def test_size_follows_the_classes():
    assert len(BalancedLabels(10).bank) == 1024
    assert len(BalancedLabels(100).bank) == 1600


@pytest.mark.parametrize(
    'options, key',
    [
        (dict(size=0), 'size'),
        (dict(steps=0), 'steps'),
        (dict(strength=1.5), 'strength'),
        (dict(prior=[1.0, 2, 3]), 'prior'),
    ],
)
def test_errors_name_the_key(options, key):
    with pytest.raises(ValueError, match=rf'pseudo_labels\.alignment\.{key}'):
        BalancedLabels(3, **options)


def test_neighbours_say_how_far_labels_are_balanced():
    draws = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 240 + [1] * 40 + [2] * 20)
    feats = torch.eye(3)[labels] + 0.4 * torch.randn(300, 3, generator=draws)
    said = (4 * feats).softmax(1)
    part = BalancedLabels(3, strength='auto')
    # a half, as long as nobody has looked
    assert part.wants_sample and part.strength == 0.5
    part.begin(start_statistics(said, feats))
    assert part.strength < 0.5
    # what was found is resumed, not found again
    assert 'strength' in part.state_dict()
    assert 'strength' not in BalancedLabels(3, strength=0.3).state_dict()
