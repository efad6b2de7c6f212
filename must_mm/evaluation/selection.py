"""Which images a person should label: doubtful ones, of every kind."""

import warnings
from collections.abc import Collection

import torch
import torch.nn.functional as F

from .knn import nearest


def neighbour_doubt(
    features: torch.Tensor, labels: torch.Tensor, k: int = 10
) -> torch.Tensor:
    """Share of the nearest other images that are given another class.

    With the features of the start it finds what self-training has pushed
    over to another class, however confident it has become.

    Args:
        features: (N, D), of any length.
        labels: Predicted classes, (N,).
        k: Neighbours, fewer if there are no more.

    Returns:
        (N,), in [0, 1].
    """
    k = min(k, len(features) - 1)
    near = [nearest(c, features, k + 1)[1] for c in features.split(1024)]
    other = labels[torch.cat(near)[:, 1:]] != labels[:, None]
    return other.double().mean(dim=1)


def budgets(mass: torch.Tensor, available: torch.Tensor, count: int) -> list:
    """Divide a number of images among classes.

    One to each that has an image, as far as they go; the others by mass, to
    whatever class is the furthest behind.

    Args:
        mass: Doubt of each class, (K,), not negative.
        available: Images of each class, (K,).
        count: Images to be divided, at most as many as there are.

    Returns:
        Images for each class, of sum ``count``.
    """
    given = torch.zeros_like(available)
    for _ in range(min(count, int(available.sum()))):
        free = given < available
        # of those without any, the one of most doubt comes first
        behind = torch.where(
            given == 0, mass.sum() + 1 + mass, mass / (given + 1)
        )
        behind[~free] = -1
        given[behind.argmax()] += 1
    return given.tolist()


def representatives(
    features: torch.Tensor, weights: torch.Tensor, count: int, seed: int = 0
) -> list[int]:
    """The images nearest to the centres of weighted clusters.

    Uncertainty-weighted k-means (CLUE, arXiv 2010.08666).

    Args:
        features: (N, D), of unit length.
        weights: (N,), positive.
        count: Clusters, at most N.
        seed: Seed of k-means.

    Returns:
        Indices, one of each cluster, those of the heaviest clusters first.
    """
    # imported here: it takes seconds
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if count >= len(features):
        return weights.argsort(descending=True).tolist()
    points = features.double().numpy()
    kmeans = KMeans(count, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        # fewer different points than clusters: copies of one image
        warnings.simplefilter('ignore', ConvergenceWarning)
        kmeans.fit(points, sample_weight=weights.double().numpy())
    cluster = torch.from_numpy(kmeans.labels_).long()
    distance = torch.from_numpy(kmeans.transform(points))
    heavy = torch.bincount(cluster, weights.double(), minlength=count)
    chosen = []
    for k in heavy.argsort(descending=True).tolist():
        own = (cluster == k).nonzero()[:, 0]
        if len(own):
            chosen.append(own[distance[own, k].argmin()].item())
    return chosen


def choose_for_review(
    features: torch.Tensor,
    doubt: torch.Tensor,
    labels: torch.Tensor,
    count: int,
    leave_out: Collection[int] = (),
    seed: int = 0,
) -> list[int]:
    """Choose images whose label would teach most.

    The images of each predicted class are clustered, doubtful ones weighing
    more, in as many clusters as its doubt has earned; the centre of each is
    asked for. So all classes have their turn, and what is hidden in one (a
    lost class, for one) is met as a cluster of its own.

    Args:
        features: (N, D), of any length.
        doubt: (N,), not negative.
        labels: Predicted classes, (N,).
        count: How many; all that are left if there are fewer.
        leave_out: Indices that are not asked for, such as copies and what is
            known.
        seed: Seed of the clustering.

    Returns:
        Indices, first those of the heaviest clusters, the classes in turn.
    """
    left = torch.ones(len(labels), dtype=torch.bool)
    left[list(leave_out)] = False
    # a little for all: clusters need every image to have some weight
    weights = doubt.double() + 0.05
    classes = int(labels.max()) + 1
    mass = torch.bincount(labels[left], weights[left], minlength=classes)
    there = torch.bincount(labels[left], minlength=classes)
    unit = F.normalize(features.double(), dim=1)
    turns: list[tuple[int, int]] = []
    for label, share in enumerate(budgets(mass, there, count)):
        if share == 0:
            continue
        own = (left & (labels == label)).nonzero()[:, 0]
        found = representatives(unit[own], weights[own], share, seed)
        turns += [
            (turn, own[k].item()) for turn, k in enumerate(found[:share])
        ]
    return [
        index
        for _, index in sorted(
            turns, key=lambda turn: (turn[0], -weights[turn[1]].item())
        )
    ]
