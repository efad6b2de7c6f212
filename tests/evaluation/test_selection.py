"""What is asked for: every class, hidden clusters, nothing twice."""

import pytest
import torch

from must_mm.evaluation.selection import (
    budgets,
    choose_for_review,
    neighbour_doubt,
    representatives,
)


@pytest.fixture
def hidden():
    """Three classes on axes of their own; the third is called the first.

    Surely so: no doubt gives it away, only the features do.
    """
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(90) % 3
    features = torch.eye(3)[truth]
    features = features + 0.1 * torch.randn(90, 3, generator=generator)
    return features, truth, torch.where(truth == 2, 0, truth)


def test_a_lost_class_is_met(hidden):
    features, truth, labels = hidden
    chosen = choose_for_review(features, torch.zeros(90), labels, 3)
    assert set(truth[chosen].tolist()) == {0, 1, 2}


@pytest.mark.parametrize('count', [0, 1, 2, 5, 20, 90, 200])
def test_as_many_as_asked_for_and_none_twice(hidden, count):
    features, _, labels = hidden
    doubt = torch.rand(90, generator=torch.Generator().manual_seed(1))
    chosen = choose_for_review(features, doubt, labels, count)
    assert len(chosen) == len(set(chosen)) == min(count, 90)
    assert chosen == choose_for_review(features, doubt, labels, count)


def test_what_is_left_out_is_not_asked_for(hidden):
    features, _, labels = hidden
    out = set(range(0, 90, 2))
    chosen = choose_for_review(features, torch.ones(90), labels, 45, out)
    assert not set(chosen) & out and len(chosen) == 45


def test_the_budget_by_hand():
    mass = torch.tensor([8.0, 2.0, 0.1, 0.0])
    there = torch.tensor([100, 100, 1, 0])
    assert budgets(mass, there, 2) == [1, 1, 0, 0]
    # one each, then 8/2, 8/3, ... against 2/2
    assert budgets(mass, there, 7) == [5, 1, 1, 0]
    assert sum(budgets(mass, there, 500)) == 201


def test_doubtful_images_draw_the_centres():
    """Two clumps and one centre: it lies in the heavier one."""
    features = torch.eye(2).repeat_interleave(10, 0)
    weights = torch.tensor([1.0] * 10 + [9.0] * 10)
    assert representatives(features, weights, 1)[0] >= 10
    both = representatives(features, weights, 2)
    assert both[0] >= 10 > both[1]


def test_copies_of_one_image_can_be_clustered():
    features = torch.ones(8, 3)
    chosen = choose_for_review(
        features, torch.zeros(8), torch.zeros(8).long(), 3
    )
    assert 1 <= len(chosen) <= 3


def test_neighbours_of_another_class(hidden):
    features, truth, labels = hidden
    assert neighbour_doubt(features, truth).max() == 0
    wrong = truth.clone()
    wrong[6] = 1
    doubt = neighbour_doubt(features, wrong)
    assert doubt[6] == 1 and doubt.argmax() == 6
    assert neighbour_doubt(features[:2], torch.tensor([0, 1])).tolist() == [
        1, 1,
    ]  # fmt: skip
