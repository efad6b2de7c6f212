"""Recipes on a toy network: an iteration an epoch, trained and resumed."""

from pathlib import Path

import torch
from mmengine.config import Config

from must_mm.checkpoints.plain import load_tensors
from must_mm.quickstart.run import epoch_keys
from tests.tiny import CLASSES, build, train, weights


def shrink(cfg: Config, work_dir: Path, width: int, batch: int) -> None:
    """Give a recipe a small head, an iteration an epoch and a quiet log.

    Args:
        cfg: A recipe; the caller gives it a small backbone and small data.
        work_dir: Folder of the run.
        width: Width of the features that the head sees.
        batch: Images of an iteration.
    """
    cfg.merge_from_dict(
        {
            'model.head': dict(num_classes=len(CLASSES), in_channels=width),
            'model.start': None,
            'train_dataloader': dict(batch_size=batch, num_workers=0),
            **epoch_keys(cfg, 2),
            'default_hooks.checkpoint.max_keep_ckpts': 2,
            'visualizer.vis_backends': [],
            'log_level': 'WARNING',
            'work_dir': str(work_dir),
        }
    )
    cfg.train_dataloader.pop('persistent_workers', None)


def train_and_resume(cfg: Config) -> list[str]:
    """Train two iterations, then the second one again from a checkpoint.

    Returns:
        Names of the weights that the second iteration moved.
    """
    runner = train(cfg)
    assert runner.iter == 2
    expected = weights(runner)
    assert all(value.isfinite().all() for value in expected.values())
    checkpoint = Path(cfg.work_dir, 'epoch_1.pth')
    first = load_tensors(checkpoint)['state_dict']

    cfg.resume, cfg.load_from = True, str(checkpoint)
    resumed = build(cfg)
    resumed.train()
    for key, value in weights(resumed).items():
        assert torch.equal(value, expected[key]), key
    return [k for k in expected if not torch.equal(first[k], expected[k])]
