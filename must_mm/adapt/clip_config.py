"""The config that adapts a CLIP model."""

import open_clip
from mmpretrain.registry import MODELS

from ..engine.autocast import mixed_precision
from ..weights.clip_source import find_model, find_weights
from ..weights.origin import function_of
from ..weights.start_file import classifier_config
from ..weights.towers import is_plain_vit, tower_config
from .config_parts import (
    LOAD,
    Data,
    balanced_labels,
    use_data,
    use_runtime,
)
from .settings import Settings, Tower
from .written_config import name_parts


def _clip_classifier(name: str, pretrained: str, classes: int) -> dict:
    """Config of the zero-shot classifier that the start will be."""
    architecture = open_clip.get_model_config(name)
    function = function_of(name, pretrained)
    architecture['quick_gelu'] = function.quick_gelu
    return classifier_config(architecture, classes, function.preprocessing)


def find_tower(name: str) -> Tower:
    """Describe the vision tower of a model, as open_clip takes it."""
    architecture = open_clip.get_model_config(name)
    vision = architecture['vision_cfg']
    size = vision['image_size']
    if is_plain_vit(vision):
        return Tower(size, vision['width'], vision['layers'])
    backbone = MODELS.build(tower_config(architecture)['backbone'])
    _, depths = backbone.get_layer_depth('')
    return Tower(size, backbone.embed_dims, depths - 2)


def clip_config(
    data: Data,
    start: dict,
    tower: Tower,
    settings: Settings,
    threshold: float = 0.7,
    fairness: dict | None = None,
    network: str = 'student',
    seed: int = 0,
) -> dict:
    """Config that adapts a CLIP model.

    Args:
        data: The images.
        start: ``model``, ``pretrained`` and ``templates`` of
            :class:`OpenCLIPStart`.
        tower: Its vision tower.
        settings: How to train.
        threshold: Confidence from which a pseudo-label is trusted.
        fairness: Options of :class:`FairnessLoss`.
        network: ``'student'`` or ``'teacher'``: which one predicts.
        seed: Seed of the run.
    """
    name = find_model(start['model'])
    weights = find_weights(name, start.get('pretrained'))
    classifier = _clip_classifier(name, weights, len(data.classes))
    parts, normalise = classifier['model'], ('mean', 'std', 'to_rgb')
    resize = classifier['test_dataloader']['dataset']['pipeline'][1:-1]
    backbone = parts['backbone']
    if backbone['type'] == 'VisionTransformer':
        backbone = dict(backbone, type='LeanVisionTransformer')
    model = dict(
        type='MUST',
        backbone=backbone,
        neck=parts['neck'],
        head=dict(
            type='PseudoLabelHead',
            num_classes=len(data.classes),
            in_channels=parts['head']['in_channels'],
            threshold=threshold,
            fairness=dict(type='FairnessLoss', **(fairness or {})),
        ),
        # self-training alone: docs/accuracy.md says why
        pseudo_labels=balanced_labels(fairness or {}),
        predict_with=network,
        data_preprocessor=dict(
            type='TwoViewDataPreprocessor',
            **{key: parts['data_preprocessor'][key] for key in normalise},
        ),
        start=dict(type='OpenCLIPStart', classes=data.classes, **start),
    )
    cfg = dict(
        classes=data.classes,
        model=model,
        train_pipeline=_train_pipeline(resize, tower, settings),
        test_pipeline=[LOAD, *resize, dict(type='PackInputs')],
        optim_wrapper=_optim_wrapper(settings),
        param_scheduler=dict(
            type='WarmupCosineLR',
            warmup_ratio=0.2,
            end=settings.epochs,
            convert_to_iter_based=True,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=settings.epochs),
        custom_hooks=[
            dict(
                type='EMATeacherHook',
                decay_start=settings.decay,
                decay_end=settings.decay,
                warmup_steps=0,
            ),
            dict(type='FairnessRestartHook'),
            dict(type='StartPassHook'),
            dict(type='HealthHook', interval=10),
            dict(type='CollapseHook'),
            dict(type='LoaderWaitHook'),
            dict(type='FreezeGarbageHook'),
            *[dict(type='RecomputeBlocksHook')] * settings.recompute,
            *[dict(type='CompileBlocksHook', device='cuda')]
            * settings.compile,
            dict(type='BadImageHook'),
        ],
    )
    name_parts(cfg)
    batch, workers = settings.batch_size, settings.workers
    use_data(cfg, data, batch, workers)
    use_runtime(cfg, settings.log_interval, settings.checkpoint_interval)
    cfg['randomness'] = dict(seed=seed)
    return cfg


def _train_pipeline(
    resize: list, tower: Tower, settings: Settings
) -> list[dict]:
    """The published views, but not mirrored.

    A flip turns digits, letters and signs into others; photographs lose
    little without it.
    """
    size = tower.size
    like = dict(size=size, interpolation=resize[0]['interpolation'])
    weak = resize  # a model that sees the whole image, squashed
    if resize[0]['type'] == 'ResizeEdge':
        weak = [dict(type='EdgeCrop', **like)]
    strong = [
        dict(type='AreaCrop', share=(settings.crop_min, 1.0), **like),
        dict(type='PublishedRandAugment'),
    ]
    return [
        dict(LOAD, lazy=True),
        dict(type='SeedSample'),
        dict(type='CropViews', transforms=[weak, strong]),
        dict(type='PackInputs'),
    ]


def _optim_wrapper(settings: Settings) -> dict:
    wrapper = dict(
        type='OptimWrapper',
        constructor='LayerDecayConstructor',
        optimizer=dict(
            type='AdamW',
            lr=settings.lr,
            betas=(0.9, 0.999),
            weight_decay=0.05,
            fused=True,
        ),
        paramwise_cfg=dict(
            layer_decay_rate=settings.layer_decay,
            norm_decay_mult=0.0,
            bias_decay_mult=0.0,
            flat_decay_mult=0.0,
            custom_keys={'backbone.cls_token': dict(decay_mult=0.0)},
        ),
    )
    if settings.amp:
        wrapper.update(mixed_precision())
    return wrapper
