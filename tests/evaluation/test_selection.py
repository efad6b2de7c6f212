"""What is asked for: large doubts, hidden clusters, nothing twice."""

import pytest
import torch

from must_mm.evaluation.propagation import neighbour_graph
from must_mm.evaluation.selection import choose_for_review
from must_mm.models.neighbour_prior import nearest_others


@pytest.fixture
def groups():
    """90 images in three clusters, and their neighbourhoods."""
    generator = torch.Generator().manual_seed(0)
    cluster = torch.arange(90) % 3
    features = torch.eye(3)[cluster]
    features = features + 0.1 * torch.randn(90, 3, generator=generator)
    return neighbour_graph(*nearest_others(features, 10)), cluster


def test_every_cluster_is_met(groups):
    """Even where nothing is in doubt: a class may be lost for sure."""
    graph, cluster = groups
    chosen = choose_for_review(graph, torch.zeros(90), 3)
    assert set(cluster[chosen].tolist()) == {0, 1, 2}


def test_the_largest_doubt_comes_first_and_is_settled(groups):
    graph, cluster = groups
    doubt = torch.tensor([0.1, 0.5, 0.45])[cluster]
    chosen = choose_for_review(graph, doubt, 2)
    assert cluster[chosen].tolist() == [1, 2]


@pytest.mark.parametrize('count', [0, 1, 2, 5, 20, 90, 200])
def test_as_many_as_asked_for_and_none_twice(groups, count):
    graph, _ = groups
    doubt = torch.rand(90, generator=torch.Generator().manual_seed(1))
    chosen = choose_for_review(graph, doubt, count)
    assert len(chosen) == len(set(chosen)) == min(count, 90)
    assert chosen == choose_for_review(graph, doubt, count)
    # more of them hold those of fewer
    assert chosen == choose_for_review(graph, doubt, 90)[:count]


def test_what_is_left_out_is_not_asked_for(groups):
    graph, _ = groups
    out = set(range(0, 90, 2))
    chosen = choose_for_review(graph, torch.ones(90), 45, out)
    assert not set(chosen) & out and len(chosen) == 45


def test_images_without_neighbours():
    """Nothing is alike: the most doubtful is asked for."""
    graph = neighbour_graph(torch.zeros(4, 2), torch.tensor([[1, 2]] * 4))
    doubt = torch.tensor([0.2, 0.9, 0.1, 0.4])
    assert choose_for_review(graph, doubt, 3) == [1, 3, 0]
