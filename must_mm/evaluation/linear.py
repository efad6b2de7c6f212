"""Linear probe: many learning rates on one set of features, in one run."""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..utils.schedules import warmup_cosine
from .checks import check_pair

BASE_LRS = tuple(round(0.01 * i, 2) for i in range(1, 11))


def _zeros(width: int, num_classes: int) -> nn.Linear:
    """A classifier that starts at zero: its problem is convex."""
    layer = nn.Linear(width, num_classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def train_probes(
    features: torch.Tensor,
    labels: torch.Tensor,
    base_lrs: Sequence[float] = BASE_LRS,
    epochs: int = 50,
    batch_size: int = 1024,
    warmup: float = 0.1,
    seed: int = 0,
    device: torch.device | str = 'cpu',
) -> tuple[nn.BatchNorm1d, nn.ModuleList]:
    """Train one linear classifier per learning rate; see :func:`linear_probe`.

    Args:
        features: (N, D).
        labels: (N,), integers from 0.
        base_lrs: Learning rates per 256 images.
        epochs: Passes over the features.
        batch_size: Features per update, N at most.
        warmup: Share of the updates in which the rate rises.
        seed: Seed of the order of the features.
        device: Where to train.

    Returns:
        The batch norm that all share, and the linear layers.
    """
    batch_size = min(batch_size, len(features))
    steps = epochs * (len(features) // batch_size)
    warmup_steps = int(warmup * steps)
    width, num_classes = features.shape[1], int(labels.max()) + 1
    norm = nn.BatchNorm1d(width, affine=False).to(device)
    probes = nn.ModuleList(_zeros(width, num_classes) for _ in base_lrs)
    probes.to(device)
    optimizer = torch.optim.SGD(
        [
            dict(params=probe.parameters(), lr=base * batch_size / 256)
            for probe, base in zip(probes, base_lrs, strict=True)
        ],
        momentum=0.9,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, warmup_steps, steps)
    )
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        shuffled = torch.randperm(len(features), generator=order)
        for batch in shuffled.split(batch_size):
            if len(batch) < batch_size:
                continue
            x = norm(features[batch].to(device).float())
            target = labels[batch].to(device)
            # the probes share no parameter: the sum trains each on its own
            loss = sum(F.cross_entropy(probe(x), target) for probe in probes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return norm.eval(), probes


@torch.no_grad()
def linear_probe(
    train: torch.Tensor,
    train_labels: torch.Tensor,
    test: torch.Tensor,
    test_labels: torch.Tensor,
    base_lrs: Sequence[float] = BASE_LRS,
    epochs: int = 50,
    batch_size: int = 1024,
    warmup: float = 0.1,
    seed: int = 0,
    device: torch.device | str = 'cpu',
) -> dict[float, float]:
    """Accuracy of linear classifiers, one per learning rate, in one run.

    Batch norm without affine, then a linear layer; SGD with momentum 0.9 and
    no decay; a learning rate of ``base * batch / 256`` with linear warm-up
    and cosine to zero, per update (arXiv 2304.10520). The features are fixed,
    extracted once: there is no augmentation. All classifiers see the same
    batches; the batch norm has no parameters and is shared.

    Which rate is best on ``test`` is a choice made with the test labels:
    report it as such, or pass held-out training features as ``test``.

    Args:
        train: Features to learn from, (N, D).
        train_labels: (N,), integers from 0.
        test: Features to be judged on, (M, D).
        test_labels: (M,), integers from 0.
        base_lrs: Learning rates per 256 images.
        epochs: Passes over ``train``.
        batch_size: Images per update, N at most; what is left over at the
            end of a pass is skipped.
        warmup: Share of the updates in which the rate rises, in [0, 1).
        seed: Seed of the order of the images.
        device: Where to train; the features are moved batch by batch.

    Returns:
        Accuracy on ``test`` in [0, 1] of each base learning rate.

    Raises:
        ValueError: If the features are unusable, there are fewer than two to
            learn from (batch norm), or a setting is out of range.
    """
    check_pair(train, train_labels, test, test_labels)
    if min(batch_size, len(train)) < 2:
        raise ValueError('batch norm needs batches of two features or more')
    if epochs < 1 or not 0 <= warmup < 1 or not base_lrs:
        raise ValueError(
            'a linear probe needs epochs >= 1, warmup in [0, 1) and a base '
            f'learning rate, got {epochs}, {warmup} and {list(base_lrs)}'
        )
    with torch.enable_grad():
        norm, probes = train_probes(
            train,
            train_labels,
            base_lrs,
            epochs,
            batch_size,
            warmup,
            seed,
            device,
        )
    correct = [0] * len(probes)
    for x, labels in zip(
        test.split(batch_size), test_labels.split(batch_size), strict=True
    ):
        x, labels = norm(x.to(device).float()), labels.to(device)
        for i, probe in enumerate(probes):
            correct[i] += (probe(x).argmax(dim=1) == labels).sum().item()
    return {
        base: hits / len(test)
        for base, hits in zip(base_lrs, correct, strict=True)
    }
