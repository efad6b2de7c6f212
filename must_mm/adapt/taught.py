"""What several runs teach a student together: a label for each image."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from ..evaluation.propagation import neighbour_graph, propagate
from ..models.class_prior import uniform_prior
from ..models.label_loss import UNKNOWN, with_known_labels
from ..models.neighbour_prior import balanced_by_neighbours
from .config_parts import TAUGHT, use_labels
from .corrections import write_lines
from .preparation import Job, write_config

FOLDER, CONFIG = 'run-taught', 'taught.py'


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
        Classes, (N,).
    """
    seen = torch.cat([F.normalize(one.float(), dim=1) for one in feats], dim=1)

    def balanced(some: torch.Tensor) -> torch.Tensor:
        if prior is None:
            return some
        return balanced_by_neighbours(some, seen, prior)

    given = torch.full((len(probs),), UNKNOWN)
    for index, label in known.items():
        given[index] = label
    said = with_known_labels(balanced(probs.float()), given)
    spread = balanced(propagate(said, neighbour_graph(seen)))
    return with_known_labels(spread, given).argmax(dim=1)


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
    cfg = copy.deepcopy(job.cfg)
    listed = Path(cfg.train_dataloader.dataset.ann_file)
    names = listed.read_text(encoding='utf-8').splitlines()
    trained, known = set(names), job.known.labels
    prior = None
    if (cfg.model.get('pseudo_labels') or {}).get('alignment'):
        even = uniform_prior(probs.shape[1])
        prior = even if job.prior is None else torch.tensor(job.prior)
    # images that may teach: those that train and are there
    places = [
        place
        for place, name in enumerate(job.images.names)
        if name in trained and not probs[place].isnan().any()
    ]
    kept = [job.images.names[place] for place in places]
    found = lesson(
        probs[places],
        [one[places] for one in feats],
        {n: known[name] for n, name in enumerate(kept) if name in known},
        prior,
    )
    labels = dict(zip(kept, found.tolist(), strict=True)) | known
    listed, config = job.out / TAUGHT, job.out / CONFIG
    write_lines(listed, [f'{n} {labels[n]}' for n in names if n in labels])
    use_labels(cfg, listed, share=0)  # all have one
    write_config(cfg, config)
    return config
