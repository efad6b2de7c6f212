"""What runs teach a student together: a label for each image."""

import copy
from pathlib import Path

import torch

from ..models.class_prior import uniform_prior
from .config_parts import use_labels
from .corrections import write_lines
from .lesson import Lesson, lesson
from .preparation import Job, write_config
from .said import Said

FOLDER, CONFIG, LABELS = 'run-taught', 'taught.py', 'taught.txt'


def lesson_of(job: Job, said: Said) -> Lesson:
    """Label the images that train.

    Args:
        job: The run.
        said: What the runs say.
    """
    # of a correction's, images may have gone since the runs were asked
    train = set(_training_list(job)) & set(job.images.names)
    some = said.only([name for name in said.names if name in train])
    return lesson(some, job.known.labels, _prior(job, said.probs.shape[1]))


def write_lesson(job: Job, found: Lesson) -> Path:
    """Write a label for each image, and a config that learns them.

    The student begins where the runs began, or with what is corrected, and
    has views of its own.

    Args:
        job: The run.
        found: What the images are to be called.

    Returns:
        The config.
    """
    cfg = copy.deepcopy(job.cfg)
    taught = zip(found.names, found.labels.tolist(), strict=True)
    labels = dict(taught) | job.known.labels
    listed, config = job.out / LABELS, job.out / CONFIG
    names = _training_list(job)
    write_lines(listed, [f'{n} {labels[n]}' for n in names if n in labels])
    use_labels(cfg, listed, share=0)  # all have one that were asked about
    write_config(cfg, config)
    return config


def _training_list(job: Job) -> list[str]:
    listed = Path(job.cfg.train_dataloader.dataset.ann_file)
    return listed.read_text(encoding='utf-8').splitlines()


def _prior(job: Job, classes: int) -> torch.Tensor | None:
    """Shares by which labels are balanced, if those of the runs are."""
    if not (job.cfg.model.get('pseudo_labels') or {}).get('alignment'):
        return None
    if job.prior is None:
        return uniform_prior(classes)
    return torch.tensor(job.prior)
