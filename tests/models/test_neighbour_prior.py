"""Shares of classes, estimated where the truth is known."""

import pytest
import torch

from must_mm.models.neighbour_prior import (
    HALF,
    NEIGHBOURS,
    SMALLEST,
    balanced_by_neighbours,
    nearest_others,
    neighbour_prior,
    shift_by_neighbours,
    told_by_neighbours,
)

CLASSES = 5
EVEN = [0.2] * CLASSES


def start(shares, preference=0.0, count=1000, seed=0):
    """Logits and features of a start that prefers the first class.

    Images lie around their class in all dimensions, of which the classifier
    sees half: neighbours know more.
    """
    draws = torch.Generator().manual_seed(seed)
    counts = (torch.tensor(shares) * count).round().long()
    labels = torch.arange(CLASSES).repeat_interleave(counts)
    places = torch.eye(CLASSES).repeat(1, 2)[labels]
    feats = places + 0.35 * torch.randn(places.shape, generator=draws)
    logits = 6 * feats[:, :CLASSES]
    logits[:, 0] += preference
    return logits, feats, labels


def off(found, truth) -> float:
    """Total variation distance of two distributions."""
    return (found - torch.tensor(truth)).abs().sum().item() / 2


@pytest.mark.parametrize('preference', [0.0, 3.0, 6.0])
def test_a_preference_is_no_share(preference):
    logits, feats, _ = start(EVEN, preference)
    found = neighbour_prior(logits, feats)
    assert off(found, EVEN) < 0.05
    if preference:
        assert off(logits.softmax(1).mean(0), EVEN) > 0.1


@pytest.mark.parametrize('preference', [0.0, 1.0])
def test_shares_that_differ_are_seen(preference):
    shares = [0.6, 0.2, 0.1, 0.05, 0.05]
    logits, feats, _ = start(shares, preference)
    found = neighbour_prior(logits, feats)
    assert off(found, shares) < 0.6 * off(torch.tensor(EVEN), shares)


def test_the_shift_ends_where_neighbours_disagree():
    even = torch.tensor(EVEN)
    for shares, low, high in (
        (EVEN, 0.8, 1.0),
        ([0.6, 0.2, 0.1, 0.05, 0.05], 0.0, 0.7),
    ):
        logits, feats, _ = start(shares, preference=3.0)
        _, near = nearest_others(feats, NEIGHBOURS)
        part, shifted = shift_by_neighbours(logits, near, even)
        assert low <= part <= high
        # it is the shift that leads to the prior, or a part of it
        whole = (shifted - logits) / max(part, 0.1)
        assert (whole - whole[0]).abs().max() < 1e-3
        if part == 1:
            assert off(shifted.softmax(1).mean(0), EVEN) < 0.01
    _, few = nearest_others(feats[:10], NEIGHBOURS)
    assert shift_by_neighbours(logits[:10], few, even)[0] == 1


def test_half_the_way_is_the_most():
    even = torch.tensor(EVEN)
    for shares, part in ((EVEN, HALF), ([0.6, 0.2, 0.1, 0.05, 0.05], None)):
        logits, feats, _ = start(shares, preference=3.0)
        _, near = nearest_others(feats, NEIGHBOURS)
        found = balanced_by_neighbours(logits.softmax(1), near, even)
        whole, shifted = shift_by_neighbours(logits, near, even)
        if part is None:  # neighbours stop before: theirs it is
            assert whole < HALF
            expected = shifted
        else:
            expected = logits + (shifted - logits) * part / whole
        # logarithms of float32 probabilities: 1e-6 of a shift of about 5
        torch.testing.assert_close(
            found, expected.softmax(1), rtol=1e-4, atol=1e-6
        )


def test_no_class_is_given_up_and_few_images_say_nothing():
    logits, feats, _ = start([0.96, 0.01, 0.01, 0.01, 0.01])
    found = neighbour_prior(logits - 9 * torch.eye(CLASSES)[4], feats)
    assert found.sum().item() == pytest.approx(1)
    # the floor, before the sum is made one again
    assert found.min() > SMALLEST / CLASSES / 1.2
    assert neighbour_prior(logits[:10], feats[:10]).tolist() == pytest.approx(
        EVEN
    )


def test_nearest_others_leave_out_the_image_itself():
    feats = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.0, 1.0]])
    cosine, near = nearest_others(feats, 1)
    assert near[:, 0].tolist() == [1, 0, 3, 2]
    expected = torch.tensor([1, 1, 1.01**0.5, 1.01**0.5]) / 1.01**0.5
    torch.testing.assert_close(cosine[:, 0], expected)
    assert nearest_others(feats, 9)[1].shape == (4, 3)


def test_neighbours_are_found_part_by_part(monkeypatch):
    feats = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    whole = nearest_others(feats, 3)
    monkeypatch.setattr('must_mm.models.neighbour_prior.AT_ONCE', 7 * 50)
    for one, other in zip(nearest_others(feats, 3), whole, strict=True):
        torch.testing.assert_close(one, other)


def test_what_neighbours_tell():
    labels = torch.tensor([0, 0, 1, 1])
    same, other = torch.tensor([1, 0, 3, 2]), torch.tensor([2, 3, 0, 1])
    assert told_by_neighbours(labels, same[:, None]) == pytest.approx(1)
    assert told_by_neighbours(labels, other[:, None]) == pytest.approx(1)
    both = torch.stack([same, other], 1)
    assert told_by_neighbours(labels, both) == pytest.approx(0)
    assert told_by_neighbours(torch.zeros(4).long(), both) == 0


def test_an_image_that_stands_for_none_tells_nothing():
    labels = torch.tensor([0, 0, 1, 1])
    near = torch.tensor([[1, 2], [0, 3], [3, 0], [2, 1]])
    alone = torch.tensor([[1, 0], [0, 1], [3, 2], [2, 3]])
    assert told_by_neighbours(labels, alone) == pytest.approx(1)
    assert told_by_neighbours(labels, near) == pytest.approx(0)
    assert told_by_neighbours(labels, torch.arange(4)[:, None]) == 0
