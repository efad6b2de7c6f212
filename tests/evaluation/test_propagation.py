"""Labels spread over neighbourhoods: by hand, and against the closed form."""

import torch
import torch.nn.functional as F

from must_mm.evaluation.propagation import neighbour_graph, propagate
from must_mm.models.neighbour_prior import nearest_others


def two_arcs(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Features along two arcs of a circle, with a gap; and which arc."""
    place = torch.linspace(0, 1, count // 2)
    angles = torch.cat([place, 2.5 + place])
    feats = torch.stack([angles.cos(), angles.sin()], dim=1)
    return feats, torch.arange(count) // (count // 2)


def graph_of(feats: torch.Tensor, neighbours: int):
    return neighbour_graph(*nearest_others(feats, neighbours))


def dense(graph) -> torch.Tensor:
    return torch.from_numpy(graph.toarray())


def test_graph_by_hand():
    """Three images in a row: the middle one is a neighbour of both."""
    feats = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    graph = dense(graph_of(feats, 1))
    near = 0.8**3  # between the first two, both ways: each names the other
    far = 0.6**3  # the last names the middle
    adjacent = torch.tensor(
        [[0, 2 * near, 0], [2 * near, 0, far], [0, far, 0]]
    )
    degree = adjacent.sum(1)
    expected = adjacent / (degree[:, None] * degree).sqrt()
    torch.testing.assert_close(graph, expected)


def test_an_image_is_not_its_own_neighbour():
    feats, _ = two_arcs()
    feats[:12] = feats[0]  # copies: more of them than neighbours
    graph = dense(graph_of(feats, 5))
    assert (graph.diagonal() == 0).all()
    torch.testing.assert_close(graph, graph.T)


def test_propagation_reaches_its_closed_form():
    # (1 - a) (I - a S)^-1 P; what is left after 50 rounds is 0.5^50
    feats, arc = two_arcs()
    probs = F.one_hot(arc, 2).float() * 0.2 + 0.4
    graph = graph_of(feats, 4)
    found = propagate(probs, graph, kept=0.5)
    exact = torch.linalg.solve(torch.eye(40) - 0.5 * dense(graph), 0.5 * probs)
    torch.testing.assert_close(found, F.normalize(exact, p=1, dim=1))


def test_neighbourhoods_correct_single_errors():
    feats, arc = two_arcs()
    probs = F.one_hot(arc, 2).float() * 0.8 + 0.1
    probs[[3, 11, 25]] = probs[[3, 11, 25]].flip(1)
    found = propagate(probs, graph_of(feats, 4))
    assert torch.equal(found.argmax(dim=1), arc)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(40))


def test_two_images_are_each_other_s_neighbour():
    graph = graph_of(torch.eye(2) + 0.5, 10)
    probs = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert propagate(probs, graph).argmax(dim=1).tolist() == [0, 1]
