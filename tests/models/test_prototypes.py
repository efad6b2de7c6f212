"""Class centroids by hand, and labels that only features can give.

Tolerance 1e-6 relative: float32, a handful of operations.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from must_mm.models.prototypes import Prototypes, class_sums, prototype_probs
from tests.models.starts import start_statistics

PROBS = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
FEATS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


def test_class_sums_by_hand():
    # SHOT, Eq. 4: the numerator of each centroid
    torch.testing.assert_close(
        class_sums(PROBS, FEATS),
        torch.tensor([[0.75, 0.5], [0.25 + 0.6, 0.5 + 0.8]]),
    )


def test_nearest_centroid_by_hand():
    # of any length: (3, 0) and (0, 0.5) point along the axes
    found = prototype_probs(
        FEATS[2:], torch.tensor([[3.0, 0.0], [0.0, 0.5]]), temperature=0.5
    )
    first = 1 / (1 + math.exp((0.8 - 0.6) / 0.5))
    torch.testing.assert_close(found, torch.tensor([[first, 1 - first]]))


def test_sums_and_means_point_the_same_way():
    """A sum over more images is longer and labels alike."""
    sums = class_sums(PROBS, FEATS)
    means = sums / PROBS.sum(0)[:, None]
    torch.testing.assert_close(
        prototype_probs(FEATS, sums, 0.1), prototype_probs(FEATS, means, 0.1)
    )


def test_mixture_and_momentum():
    part = Prototypes(2, 2, weight=0.25, momentum=0.5, temperature=0.1)
    part.begin(start_statistics(PROBS, FEATS))
    torch.testing.assert_close(part.sums, class_sums(PROBS, FEATS) / 3)
    nearest = prototype_probs(FEATS, part.sums, 0.1)
    mixed = part.mix(PROBS, FEATS)
    torch.testing.assert_close(mixed, 0.75 * PROBS + 0.25 * nearest)

    before = part.sums.clone()
    part.follow(PROBS[:2], FEATS[:2])
    torch.testing.assert_close(
        part.sums, 0.5 * before + 0.5 * class_sums(PROBS[:2], FEATS[:2]) / 2
    )


def test_without_centroids_every_class_is_alike():
    part = Prototypes(2, 2, weight=1.0)
    torch.testing.assert_close(part.mix(PROBS, FEATS), torch.full((3, 2), 0.5))


def test_clusters_correct_a_wrong_label():
    """An image amid a cluster is labelled as the cluster is."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    centres = torch.tensor([[1.0, 0.2, 0.0], [0.0, 0.2, 1.0]])
    noise = 0.1 * torch.randn(40, 3, generator=generator)
    feats = F.normalize(centres[labels] + noise, dim=1)
    probs = torch.full((40, 2), 0.2)
    probs[torch.arange(40), labels] = 0.8
    wrong = probs.flip(1)[:4]
    probs[:4] = wrong
    part = Prototypes(2, 3, weight=0.7)
    part.begin(start_statistics(probs, feats))
    assert torch.equal(part.mix(probs, feats).argmax(1), labels)


@pytest.mark.parametrize(
    'options, key',
    [
        (dict(weight=1.1), 'weight'),
        (dict(momentum=1.0), 'momentum'),
        (dict(temperature=0.0), 'temperature'),
    ],
)
def test_errors_name_the_key(options, key):
    with pytest.raises(ValueError, match=rf'pseudo_labels\.prototypes\.{key}'):
        Prototypes(2, 2, **options)
