"""Clustering against all permutations and against scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
)

from must_mm.evaluation import cluster_accuracy, cluster_metrics


@pytest.mark.parametrize('num_clusters', [3, 5, 6])
def test_hungarian_equals_all_permutations(num_clusters):
    """With fewer, as many and more clusters than the five classes."""
    random = np.random.default_rng(num_clusters)
    labels = random.integers(5, size=60)
    clusters = np.where(
        random.random(60) < 0.5,
        (labels + 2) % num_clusters,
        random.integers(num_clusters, size=60),
    )
    # -1 names no class: such a cluster stays without partner
    names = [0, 1, 2, 3, 4, -1]
    best = max(
        np.mean(np.array(naming)[clusters] == labels)
        for naming in permutations(names, num_clusters)
    )
    assert cluster_accuracy(labels, clusters) == best
    assert best < 1


def blobs(noise: float):
    """Three classes, 30 images each."""
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(90) % 3
    centres = torch.eye(3, 4)
    return centres[labels] + noise * torch.randn(
        90, 4, generator=random
    ), labels


def test_equals_scikit_learn():
    features, labels = blobs(0.5)
    found = cluster_metrics(features, labels, seed=2)
    clusters = KMeans(3, n_init=10, random_state=2).fit_predict(features)
    truth = labels.numpy()
    best = max(
        np.mean(np.array(naming)[clusters] == truth)
        for naming in permutations(range(3))
    )
    assert found == pytest.approx(
        dict(
            accuracy=best,
            nmi=normalized_mutual_info_score(truth, clusters),
            ari=adjusted_rand_score(truth, clusters),
        )
    )
    assert 0.4 < found['accuracy'] < 1


def test_separate_classes_are_found():
    found = cluster_metrics(*blobs(0.01))
    assert found == pytest.approx(dict(accuracy=1, nmi=1, ari=1))


def test_the_number_of_clusters_is_free():
    """Six clusters of three classes: half of each class has no name."""
    features, labels = blobs(0.01)
    found = cluster_metrics(features, labels, num_clusters=6)
    assert found['accuracy'] < 1 and found['nmi'] < 1


def test_unusable_input_says_so():
    features, labels = blobs(0.1)
    with pytest.raises(ValueError, match='91 clusters of 90 features'):
        cluster_metrics(features, labels, num_clusters=91)
    with pytest.raises(ValueError, match='cluster: labels are missing'):
        cluster_metrics(features, None)
