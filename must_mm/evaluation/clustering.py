"""Clustering: do the features fall into the classes by themselves?"""

import numpy as np
import torch

from .checks import check_features


def cluster_accuracy(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Accuracy in [0, 1] of the best one-to-one naming of the clusters.

    The naming is found by the Hungarian method. With more clusters than
    classes, or fewer, what stays without partner counts as wrong.

    Args:
        labels: (N,), integers.
        clusters: (N,), integers.
    """
    # imported here: it takes seconds, and most runs do not need it
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    counts = contingency_matrix(labels, clusters)
    matched = linear_sum_assignment(counts, maximize=True)
    return float(counts[matched].sum() / len(labels))


def cluster_metrics(
    features: torch.Tensor,
    labels: torch.Tensor,
    num_clusters: int | None = None,
    n_init: int = 10,
    seed: int = 0,
) -> dict[str, float]:
    """k-means on the features, compared with the classes.

    Args:
        features: (N, D), clustered as they are; normalise them first for
            clusters by direction.
        labels: (N,), integers; they judge the clusters and do not make them.
        num_clusters: Number of clusters; the number of classes by default.
        n_init: Starts of k-means, of which the tightest is kept.
        seed: Seed of k-means.

    Returns:
        ``accuracy`` after Hungarian matching in [0, 1]; ``nmi``, normalised
        mutual information in [0, 1]; ``ari``, the adjusted Rand index, 1 for
        equal partitions and 0 for chance.

    Raises:
        ValueError: If the features are unusable or fewer than the clusters.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import (
        adjusted_rand_score,
        normalized_mutual_info_score,
    )

    check_features(features, labels, 'features to cluster')
    truth = labels.cpu().numpy()
    num_clusters = num_clusters or len(np.unique(truth))
    if num_clusters > len(features):
        raise ValueError(
            f'{num_clusters} clusters of {len(features)} features: lower '
            'num_clusters or give more images'
        )
    kmeans = KMeans(num_clusters, n_init=n_init, random_state=seed)
    clusters = kmeans.fit_predict(features.float().cpu().numpy())
    return dict(
        accuracy=cluster_accuracy(truth, clusters),
        nmi=float(normalized_mutual_info_score(truth, clusters)),
        ari=float(adjusted_rand_score(truth, clusters)),
    )
