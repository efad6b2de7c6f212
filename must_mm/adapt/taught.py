"""What several runs teach a student together: a label for each image."""

import copy
from pathlib import Path

import torch

from .config_parts import TAUGHT, use_labels
from .corrections import write_lines
from .preparation import Job, write_config

FOLDER, CONFIG = 'run-taught', 'taught.py'


def write_lesson(job: Job, probs: torch.Tensor) -> Path:
    """Write the labels that runs agree on, and a config that learns them.

    The student begins where the runs began, and has views of its own. Labels
    of a person prevail.

    Args:
        job: The run.
        probs: What the runs say of the images together, (N, K); not a number
            for images that have gone.

    Returns:
        The config.
    """
    labels = {
        name: k
        for name, k, there in zip(
            job.images.names,
            probs.argmax(dim=1).tolist(),
            (~probs.isnan().any(dim=1)).tolist(),
            strict=True,
        )
        if there
    } | job.known.labels
    cfg = copy.deepcopy(job.cfg)
    trained = Path(cfg.train_dataloader.dataset.ann_file)
    names = trained.read_text(encoding='utf-8').splitlines()
    listed, config = job.out / TAUGHT, job.out / CONFIG
    write_lines(listed, [f'{n} {labels[n]}' for n in names if n in labels])
    use_labels(cfg, listed, share=0)  # all have one
    write_config(cfg, config)
    return config
