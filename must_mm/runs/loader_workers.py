"""How many processes load images: a rule in place of a number."""

import os

from mmengine.config import Config

from ..utils.machine import cores

MOST = 12


def loader_workers(cores: int, processes: int = 1) -> int:
    """Loader processes of each training process of a machine.

    A core loads about 250 images/s and the fastest GPUs ask for 2,100; one
    core of each process stays with the training.

    Args:
        cores: Cores that the processes share.
        processes: Training processes.

    Returns:
        From 1 to 12.
    """
    return min(MOST, max(1, cores // processes - 1))


def follow_cores(cfg: Config) -> None:
    """Set ``num_workers`` where it is ``True``, which no number is.

    Whoever does not know this rule takes it for 1, so that a recipe runs with
    any tool.

    Args:
        cfg: Config of a run, adjusted in place.
    """
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))  # torchrun's
    for phase in ('train', 'val', 'test'):
        loader = cfg.get(f'{phase}_dataloader')
        if loader and loader.get('num_workers') is True:
            loader.num_workers = loader_workers(cores(), processes)
