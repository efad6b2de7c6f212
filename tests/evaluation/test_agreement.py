"""Runs that agree: by hand, and what must not matter."""

import pytest
import torch

from must_mm.evaluation.agreement import (
    agreement,
    consensus,
    disagreement,
    spokesman,
)

#: Three runs on two images; the third differs on the second.
PROBS = torch.tensor(
    [
        [[0.9, 0.1], [0.2, 0.8]],
        [[0.7, 0.3], [0.1, 0.9]],
        [[0.8, 0.2], [0.6, 0.4]],
    ]
)


def test_by_hand():
    mean = consensus(PROBS)
    torch.testing.assert_close(mean, torch.tensor([[0.8, 0.2], [0.3, 0.7]]))
    votes = PROBS.argmax(2)
    found = agreement(votes, mean.argmax(1))
    assert found.tolist() == pytest.approx([1, 2 / 3])
    other = agreement(votes, torch.tensor([1, 0]))
    assert other.tolist() == pytest.approx([0, 1 / 3])
    # of three pairs, two differ on one of two images
    assert disagreement(PROBS.argmax(2)) == pytest.approx(1 / 3)


def test_one_run_speaks_for_itself():
    assert spokesman(PROBS[:1]) == 0


def test_the_spokesman_agrees_best():
    assert spokesman(PROBS) in (0, 1)
    # the order of the runs does not matter
    best = PROBS[spokesman(PROBS)]
    flipped = PROBS.flip(0)
    assert torch.equal(flipped[spokesman(flipped)], best)


def test_runs_that_differ_everywhere():
    labels = torch.tensor([[0, 1], [1, 0]])
    assert disagreement(labels) == 1
    assert disagreement(labels[:1].repeat(3, 1)) == 0
