"""A tiny MUST on generated images, for the tests of everything around it."""

import itertools
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from must_mm.runs.launch import build_runner
from must_mm.utils.paths import config_path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / 'tests' / 'data'
SIZE, PATCH, WIDTH, EMBED = 32, 8, 32, 16
CLASSES = ('ant', 'bee', 'cat', 'dog')
PER_CLASS, BATCH = 6, 8  # three iterations an epoch
# every part of PseudoLabels, and the masked view as a pass of its own
BETTER_LABELS = {
    'model.masked_view': 'separate',
    'model.pseudo_labels': dict(
        anchor=dict(weight=0.4, length=8),
        prototypes=dict(weight=0.3),
        alignment=dict(prior='auto', size=24),
        weights=dict(momentum=0.5),
    ),
}
_run_number = itertools.count()

WEAK = [dict(type='EdgeCrop', size=SIZE)]
STRONG = [
    dict(type='AreaCrop', size=SIZE, share=(0.3, 1.0), flip=0.5),
    dict(type='PublishedRandAugment'),
]
TRAIN_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='SeedSample'),
    dict(type='CropViews', transforms=[WEAK, STRONG]),
    dict(
        type='MUSTMaskGenerator',
        input_size=SIZE,
        mask_patch_size=16,
        model_patch_size=PATCH,
        mask_ratio=0.3,
    ),
    dict(type='PackInputs'),
]
TEST_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(
        type='ResizeEdge',
        scale=SIZE,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=SIZE),
    dict(type='PackInputs'),
]


def write_images(folder: Path, size=(40, 36), seed: int = 0) -> Path:
    """Write smooth random colour images and lists of them, with labels.

    ``labels.txt`` has the true labels, ``permuted.txt`` other ones,
    ``names.txt`` none.
    """
    rng = np.random.default_rng(seed)
    names = []
    for label, name in enumerate(CLASSES):
        (folder / 'images' / name).mkdir(parents=True, exist_ok=True)
        for number in range(PER_CLASS):
            coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize(size, Image.BICUBIC)
            path = f'{name}/{number}.png'
            image.save(folder / 'images' / path)
            names.append((path, label))
    shifted = [(path, (label + 1) % len(CLASSES)) for path, label in names]
    for file, lines in (
        ('labels.txt', [f'{path} {label}' for path, label in names]),
        ('permuted.txt', [f'{path} {label}' for path, label in shifted]),
        ('names.txt', [path for path, _ in names]),
    ):
        (folder / file).write_text('\n'.join(lines) + '\n')
    return folder


def dataset(images: Path, pipeline: list, ann_file='labels.txt') -> dict:
    """Config of the generated images; ``names.txt`` means no labels."""
    return dict(
        type='CustomDataset',
        data_root=str(images),
        ann_file=ann_file,
        data_prefix='images',
        with_label=ann_file != 'names.txt',
        metainfo=dict(classes=CLASSES),
        pipeline=pipeline,
    )


def tiny_config(images: Path, work_dir: Path, changes=None, **data) -> Config:
    """The project's base configs at toy size, on the generated images.

    Args:
        images: Folder written by :func:`write_images`.
        work_dir: Folder of the run.
        changes: Keys with dots to override, as on the command line.
        data: Options of the training :func:`dataset`.
    """
    cfg = Config()
    for base in ('must_vit-b16', 'must_schedule', 'must_runtime'):
        cfg.merge_from_dict(
            Config.fromfile(config_path(f'_base_/{base}.py')).to_dict()
        )
    loader = dict(num_workers=0, collate_fn=dict(type='default_collate'))
    evaluation = dict(
        **loader,
        batch_size=5,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dataset(images, TEST_PIPELINE),
    )
    cfg.merge_from_dict(
        {
            'model.backbone.arch': dict(
                _delete_=True,
                embed_dims=WIDTH,
                num_layers=2,
                num_heads=2,
                feedforward_channels=4 * WIDTH,
            ),
            'model.backbone.img_size': SIZE,
            'model.backbone.patch_size': PATCH,
            'model.neck': dict(in_channels=WIDTH, out_channels=EMBED),
            'model.head': dict(
                num_classes=len(CLASSES), in_channels=EMBED, threshold=0.5
            ),
            # a small scale: some samples are confident, some are not
            'model.head.logit_scale': 5.0,
            'model.decoder': dict(in_channels=WIDTH, encoder_stride=PATCH),
            'model.mim_head.patch_size': PATCH,
            'train_dataloader': dict(
                **loader,
                batch_size=BATCH,
                drop_last=True,
                sampler=dict(type='EpochSampler', shuffle=True),
                dataset=dataset(images, TRAIN_PIPELINE, **data),
            ),
            'val_dataloader': evaluation,
            'test_dataloader': evaluation,
            'val_evaluator': dict(type='Accuracy', topk=1),
            'test_evaluator': dict(type='Accuracy', topk=1),
            'optim_wrapper.optimizer.lr': 1e-3,
            'param_scheduler.T_max': 3,
            'train_cfg.max_epochs': 3,
            # a fast teacher: its errors show after a few steps
            'custom_hooks': [
                dict(
                    cfg.teacher, decay_start=0.5, decay_end=0.9, warmup_steps=4
                ),
                *cfg.guards,
            ],
            'default_hooks.logger.interval': 1,
            'visualizer.vis_backends': [],
            'log_level': 'WARNING',
            'work_dir': str(work_dir),
        }
    )
    cfg.merge_from_dict(changes or {})
    return cfg


def build(cfg: Config, *hooks) -> Runner:
    """Build a runner with a name of its own and register hooks."""
    # MMEngine shares logs between runs of one name within a process.
    cfg.experiment_name = f'run{next(_run_number)}'
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    return runner


def train(cfg: Config, *hooks) -> Runner:
    """Train and return the runner."""
    runner = build(cfg, *hooks)
    runner.train()
    return runner


def launch(phase: str, *argv) -> Runner:
    """Build the runner of ``tools/train.py`` or ``tools/test.py``."""
    options = ['--cfg-options', f'experiment_name=run{next(_run_number)}']
    return build_runner('', phase, [*map(str, argv), *options])


def assert_same_tensors(found, expected, where='') -> None:
    """Compare nested containers: every tensor equal bit for bit."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype, where
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_same_tensors(found[key], expected[key], f'{where}/{key}')
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for i, pair in enumerate(zip(found, expected, strict=True)):
            assert_same_tensors(*pair, f'{where}/{i}')
    else:
        assert found == expected, where


def weights(runner: Runner) -> dict:
    """The state dict of a runner's model, copied."""
    return {k: v.clone() for k, v in runner.model.state_dict().items()}
