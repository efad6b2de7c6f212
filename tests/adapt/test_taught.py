"""The labels that several runs teach: what neighbours and people change."""

import torch
import torch.nn.functional as F

from must_mm.adapt.taught import lesson
from must_mm.models.class_prior import uniform_prior


def clusters(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Two clusters of features, and which is whose."""
    draws = torch.Generator().manual_seed(0)
    cluster = torch.arange(count) % 2
    noise = 0.2 * torch.randn(count, 3, generator=draws)
    return torch.eye(3)[cluster] + noise, cluster


def sure(labels: torch.Tensor) -> torch.Tensor:
    return F.one_hot(labels, 2).float() * 0.8 + 0.1


def test_neighbours_outvote_a_single_error():
    feats, cluster = clusters()
    said = cluster.clone()
    said[:3] = 1 - said[:3]
    # the second run sees nothing; the first one's neighbours decide
    seen = [feats, torch.ones(60, 4)]
    assert torch.equal(lesson(sure(said), seen, {}), cluster)


def test_neighbours_believe_a_person():
    feats, cluster = clusters()
    unsure = torch.full((60, 2), 0.5)
    found = lesson(unsure, [feats], {0: 1, 1: 0})
    assert torch.equal(found, 1 - cluster)


def test_a_person_prevails_over_neighbours():
    feats, cluster = clusters()
    found = lesson(sure(cluster), [feats], {0: 1})
    assert found[0] == 1 and torch.equal(found[1:], cluster[1:])


def test_labels_are_balanced_where_there_is_a_prior():
    """A preference that neighbours contradict is taken out."""
    feats, cluster = clusters()
    leaning = sure(cluster)
    leaning[cluster == 1] = torch.tensor([0.55, 0.45])
    assert (lesson(leaning, [feats], {}) == 0).all()
    found = lesson(leaning, [feats], {}, uniform_prior(2))
    assert torch.equal(found, cluster)
