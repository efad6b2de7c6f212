"""What several runs teach a student together: a label for each image."""

import copy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from ..evaluation.propagation import neighbour_graph, propagate
from ..models.class_prior import uniform_prior
from ..models.label_loss import UNKNOWN, with_known_labels
from ..models.neighbour_prior import (
    NEIGHBOURS,
    balanced_by_neighbours,
    nearest_others,
)
from ..utils.machine import device_type
from .config_parts import use_labels
from .corrections import write_lines
from .preparation import Job, write_config

FOLDER, CONFIG, LABELS = 'run-taught', 'taught.py', 'taught.txt'


def lesson(
    probs: torch.Tensor,
    feats: Sequence[torch.Tensor],
    known: Mapping[int, int],
    prior: torch.Tensor | None = None,
) -> torch.Tensor:
    """Label images by what runs say of them and of their neighbours.

    Args:
        probs: What the runs say together, (N, K).
        feats: What each sees, (N, E).
        known: Classes that a person has given, by image.
        prior: Shares by which labels are balanced, (K,), if they are.

    Returns:
        Classes, (N,), on the CPU.
    """
    # sparse matrices are for these two
    device = 'cuda' if device_type() == 'cuda' else 'cpu'
    seen = torch.cat([F.normalize(one.float(), dim=1) for one in feats], dim=1)
    cosine, near = nearest_others(seen.to(device), NEIGHBOURS)
    given = torch.full((len(probs),), UNKNOWN)
    for index, label in known.items():
        given[index] = label
    given = given.to(device)
    said = probs.float().to(device)
    if prior is not None:
        said = balanced_by_neighbours(said, near, prior.to(device))
    graph = neighbour_graph(cosine, near)
    spread = propagate(with_known_labels(said, given), graph)
    return with_known_labels(spread, given).argmax(dim=1).cpu()


def write_lesson(
    job: Job, probs: torch.Tensor, feats: Sequence[torch.Tensor]
) -> Path:
    """Write a label for each image, and a config that learns them.

    The student begins where the runs began, and has views of its own.

    Args:
        job: The run.
        probs: What the runs say of the images together, (N, K); not a number
            for images that have gone.
        feats: What each run sees, (N, E).

    Returns:
        The config.
    """
    cfg, known = copy.deepcopy(job.cfg), job.known.labels
    trained = Path(cfg.train_dataloader.dataset.ann_file)
    names = trained.read_text(encoding='utf-8').splitlines()
    there = (~probs.isnan().any(dim=1)).tolist()
    places = _places(job.images.names, there, set(names))
    kept = [job.images.names[place] for place in places]
    found = lesson(
        probs[places],
        [one[places] for one in feats],
        {n: known[name] for n, name in enumerate(kept) if name in known},
        _prior(job, probs.shape[1]),
    )
    labels = dict(zip(kept, found.tolist(), strict=True)) | known
    listed, config = job.out / LABELS, job.out / CONFIG
    write_lines(listed, [f'{n} {labels[n]}' for n in names if n in labels])
    use_labels(cfg, listed, share=0)  # all have one
    write_config(cfg, config)
    return config


def _places(
    names: Sequence[str], there: Sequence[bool], trained: Collection[str]
) -> list[int]:
    """Places of the images that may teach: that train, and have not gone."""
    return [
        place
        for place, (name, here) in enumerate(zip(names, there, strict=True))
        if here and name in trained
    ]


def _prior(job: Job, classes: int) -> torch.Tensor | None:
    """Shares by which labels are balanced, if those of the runs are."""
    if not (job.cfg.model.get('pseudo_labels') or {}).get('alignment'):
        return None
    if job.prior is None:
        return uniform_prior(classes)
    return torch.tensor(job.prior)
