"""Shares of classes from predictions and labels that were picked."""

import pytest
import torch

from must_mm.evaluation.class_shares import (
    Estimate,
    clearly_other,
    estimate_shares,
)

TRUE = torch.tensor([0.6, 0.25, 0.1, 0.05])
EVEN = torch.full((4,), 0.25)


def drawn(shares, seed=0, count=4000, pull=0.0):
    """Logits of a classifier that takes all classes for equally frequent.

    Features are a class's direction and noise; the logits are the posterior
    for even shares, so that the prior is all that is wrong with them.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(shares, count, True, generator=draw)
    noise = torch.randn(count, len(shares), generator=draw)
    logits = 2.0 * (2.0 * torch.eye(len(shares))[labels] + noise)
    return logits + pull, labels


def distance(one, other):
    return ((one - other).abs().sum() / 2).item()


def test_labels_correct_what_predictions_say():
    logits, labels = drawn(TRUE)
    said = logits.softmax(dim=1).mean(dim=0)
    draw = torch.Generator().manual_seed(1)
    known = torch.randperm(len(labels), generator=draw)[:100]
    found = estimate_shares(logits, known, labels[known])
    assert found.shares.sum().item() == pytest.approx(1)
    assert distance(found.shares, TRUE) < distance(said, TRUE) / 2
    assert clearly_other(found, EVEN)


def test_it_does_not_matter_which_images_are_labelled():
    """Here as many of each class that is said, so that rare ones are not."""
    logits, labels = drawn(TRUE)
    said = logits.argmax(dim=1)
    chosen = torch.cat([(said == k).nonzero()[:50, 0] for k in range(4)])
    found = estimate_shares(logits, chosen, labels[chosen])
    picked = torch.bincount(labels[chosen], minlength=4) / len(chosen)
    assert distance(found.shares, TRUE) < 0.05 < 0.1 < distance(picked, TRUE)


@pytest.mark.parametrize('seed', range(5))
def test_even_shares_are_left_alone(seed):
    logits, labels = drawn(EVEN, seed)
    found = estimate_shares(logits, torch.arange(20), labels[:20])
    assert not clearly_other(found, EVEN)
    assert 0 < found.noise < 0.2


def test_the_more_labels_the_less_noise():
    logits, labels = drawn(TRUE)
    noise = [
        estimate_shares(logits, torch.arange(n), labels[:n]).noise
        for n in (4, 40, 400)
    ]
    assert noise == sorted(noise, reverse=True) and noise[-1] < noise[0] / 2


def test_a_class_that_is_never_said_keeps_a_share():
    logits, labels = drawn(TRUE, pull=torch.tensor([0.0, 0, 0, -60.0]))
    found = estimate_shares(logits, torch.arange(3), labels[:3])
    assert (found.shares > 0).all()


def test_clearly_is_twice_the_noise():
    shares = torch.tensor([0.7, 0.3]).double()
    even = torch.full((2,), 0.5)
    assert clearly_other(Estimate(shares, 0.09), even)
    assert not clearly_other(Estimate(shares, 0.11), even)
