"""Toy sizes for MAE-CT's recipes, and a toy masked autoencoder to start from.

Views, schedule, optimizer groups, hooks and stages stay the recipe's own.
"""

from pathlib import Path

import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from must_mm.utils.paths import config_path
from tests.tiny import BATCH, PATCH, SIZE, WIDTH, dataset

DEPTH, DIM = 4, 16
ARCH = dict(
    embed_dims=WIDTH, num_layers=DEPTH, num_heads=2, feedforward_channels=64
)


def write_mae(path: Path) -> Path:
    """Save a random MAE of MMPretrain, as its training would."""
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='MAE',
            backbone=dict(
                type='MAEViT', arch=ARCH, img_size=SIZE, patch_size=PATCH
            ),
            neck=dict(
                type='MAEPretrainDecoder',
                num_patches=(SIZE // PATCH) ** 2,
                patch_size=PATCH,
                embed_dim=WIDTH,
                decoder_embed_dim=16,
                decoder_depth=1,
                decoder_num_heads=2,
            ),
            head=dict(
                type='MAEPretrainHead',
                patch_size=PATCH,
                loss=dict(type='PixelReconstructionLoss', criterion='L2'),
            ),
        )
    )
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def maect_config(
    name: str, images: Path, work_dir: Path, load_from, changes=None
) -> Config:
    """A recipe at toy size: three iterations an epoch, two epochs."""
    cfg = Config.fromfile(config_path(f'mae_ct/{name}.py'))
    pipeline = cfg.train_dataloader.dataset.pipeline
    for step in pipeline:
        for transform in sum(step.get('transforms', []), []):
            if transform.type == 'RandomResizedCrop':
                transform.scale = SIZE
    frozen = DEPTH * cfg.model.backbone.frozen_stages // full_depth(cfg)
    cfg.merge_from_dict(
        {
            'model.backbone': dict(
                arch=dict(ARCH, _delete_=True),
                img_size=SIZE,
                patch_size=PATCH,
                frozen_stages=frozen,
            ),
            'model.head.projector': dict(
                in_channels=WIDTH, hid_channels=24, out_channels=DIM
            ),
            'model.head.predictor': dict(
                in_channels=DIM, hid_channels=40, out_channels=DIM
            ),
            'model.head.queue': dict(size=6 * BATCH, dim=DIM),
            'optim_wrapper.type': 'OptimWrapper',
            'published_batch': BATCH,  # the rates stay the recipe's
            'train_dataloader': dict(
                batch_size=BATCH,
                num_workers=0,
                persistent_workers=False,
                dataset=dict(_delete_=True, **dataset(images, pipeline)),
            ),
            'train_cfg.max_epochs': 2,
            'param_scheduler.end': 2,
            'visualizer.vis_backends': [],
            'log_level': 'WARNING',
            'load_from': load_from and str(load_from),
            'work_dir': str(work_dir),
        }
    )
    cfg.merge_from_dict(changes or {})
    return cfg


def full_depth(cfg: Config) -> int:
    """Number of blocks of a recipe's encoder."""
    return dict(base=12, large=24, huge=32)[cfg.model.backbone.arch]
