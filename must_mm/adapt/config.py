"""The config of a run: complete, readable, to be edited and run again."""

from dataclasses import dataclass
from keyword import iskeyword
from pathlib import Path

import open_clip
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from yapf.yapflib.yapf_api import FormatCode

from ..engine.autocast import mixed_precision
from ..runs.batch_rule import follow_batch
from ..utils.machine import device_type
from ..weights.clip_source import find_model, find_weights
from ..weights.origin import function_of
from ..weights.start_file import classifier_config
from ..weights.towers import is_plain_vit, tower_config
from .settings import Settings, Tower

LOAD = dict(type='LoadImage')
#: How far labels are balanced: a stated prior may not hold to the letter.
STRENGTH = 0.5
LISTS = ('images.txt', 'labelled.txt', 'trained.txt', 'known.txt')
LABELLED_SHARE = 0.25  # of each batch, where there are labels
LOADERS = ('LoadImage', 'LoadImageFromFile')
# Written once as a variable, used by these names.
_VARIABLES = ('classes', 'mask', 'train_pipeline', 'test_pipeline', 'teacher')
_COMMENTS = {
    'classes': 'The names, in the order of the labels.',
    'model': 'Student, teacher, and how they learn.',
    'mask': 'The blocks that are hidden in the second view.',
    'train_pipeline': 'Two views of each image.',
    'test_pipeline': 'The view that is classified.',
    'train_dataloader': 'The images, without labels.',
    'val_dataloader': 'Nothing is chosen by labels.',
    'test_dataloader': 'For tools/test.py and the exported model.',
    'optim_wrapper': 'Rate of the last layer; less for each layer below.',
    'train_cfg': 'Epochs; keep param_scheduler.end equal.',
    'teacher': "The teacher's decay, from one step to the next.",
    'custom_hooks': 'The teacher, and guards.',
    'default_hooks': 'Steps between log lines, epochs between checkpoints.',
    'default_scope': 'The rest rarely changes.',
}
# One item a line where a line ends, closing brackets on lines of their own.
_STYLE = dict(
    based_on_style='facebook',
    column_limit=79,
    split_all_top_level_comma_separated_values=True,
)


@dataclass(frozen=True)
class Data:
    """The images of a run.

    Attributes:
        folder: Where they lie.
        listed: Text file with their paths below it.
        count: How many they are.
        classes: Class names.
        labelled: Folder of labelled images, and the text file that lists
            them with their classes.
        trained: Text file of those that train, if these are not all.
        known: Text file of those with a label that training may use.
        after: Checkpoint to go on from, instead of the start.
    """

    folder: Path
    listed: Path
    count: int
    classes: list[str]
    labelled: tuple[Path, Path] | None = None
    trained: Path | None = None
    known: Path | None = None
    after: Path | None = None


def _clip_classifier(name: str, pretrained: str, classes: int) -> dict:
    """Config of the zero-shot classifier that the start will be."""
    architecture = open_clip.get_model_config(name)
    function = function_of(name, pretrained)
    architecture['quick_gelu'] = function.quick_gelu
    return classifier_config(architecture, classes, function.preprocessing)


def find_tower(name: str) -> Tower:
    """Describe the vision tower of a model, as open_clip takes it."""
    architecture = open_clip.get_model_config(name)
    vision, embed = architecture['vision_cfg'], architecture['embed_dim']
    size = vision['image_size']
    if is_plain_vit(vision):
        width, patch = vision['width'], vision['patch_size']
        return Tower(size, patch, width, vision['layers'], width)
    backbone = MODELS.build(tower_config(architecture)['backbone'])
    backbone.eval()  # returns nothing
    with torch.no_grad():
        feature_map = backbone(torch.zeros(1, 3, size, size))[-1]
    stride = size // feature_map.shape[-1]
    _, depths = backbone.get_layer_depth('')
    return Tower(size, stride, backbone.embed_dims, depths - 2, embed)


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
        pseudo_labels=_pseudo_labels(fairness or {}),
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
    _name_parts(cfg)
    batch, workers = settings.batch_size, settings.workers
    _use_data(cfg, data, batch, workers)
    _use_runtime(cfg, settings.log_interval, settings.checkpoint_interval)
    cfg['randomness'] = dict(seed=seed)
    return cfg


def _pseudo_labels(fairness: dict) -> dict:
    """Labels that spread as the classes do, where that is known.

    Args:
        fairness: Options of :class:`FairnessLoss`; a weight of 0 says that it
            is not.
    """
    if fairness.get('loss_weight', 1) == 0:
        return dict()
    prior = fairness.get('prior')
    return dict(
        alignment=dict(type='BalancedLabels', prior=prior, strength=STRENGTH)
    )


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


def _use_data(cfg: dict, data: Data, batch: int, workers: int) -> None:
    """Point a config with pipelines and classes at the images."""
    names = dict(metainfo=dict(classes=cfg['classes']))
    unlabelled = dict(
        # an image may go while the run goes on
        type='SkipBadImages',
        dataset='CustomDataset',
        max_bad_images=max(10, data.count // 100),
        data_root=str(data.folder),
        ann_file=str(data.listed),
        with_label=False,
        **names,
    )
    tested = dict(unlabelled, type='CustomDataset')
    for key in ('dataset', 'max_bad_images'):
        del tested[key]
    if data.labelled:
        folder, listed = data.labelled
        tested = dict(
            type='CustomDataset',
            data_root=str(folder),
            ann_file=str(listed),
            **names,
        )
    cfg['train_dataloader'] = dict(
        batch_size=batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device_type() == 'cuda',
        drop_last=True,
        sampler=dict(type='EpochSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=dict(**unlabelled, pipeline=cfg['train_pipeline']),
    )
    if data.trained:
        cfg['train_dataloader']['dataset']['ann_file'] = str(data.trained)
    if data.known:
        _use_labels(cfg, data.known)
    if data.after:
        cfg['load_from'] = str(data.after)
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg[key] = None
    cfg['test_dataloader'] = dict(
        batch_size=batch,
        num_workers=workers,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=dict(**tested, pipeline=cfg['test_pipeline']),
    )
    cfg['test_cfg'] = dict(type='TeacherStudentTestLoop')
    cfg['test_evaluator'] = (
        dict(type='Accuracy', topk=1) if data.labelled else []
    )


def _use_labels(cfg: dict, known: Path) -> None:
    """Learn the labels of a list, a share of each batch."""
    cfg['model']['label_loss'] = dict(type='LabelLoss')
    loader = cfg['train_dataloader']
    loader['sampler'] = dict(
        type='LabelledShareSampler', share=LABELLED_SHARE, shuffle=True
    )
    loader['dataset'] = dict(
        loader['dataset'],
        dataset='KnownLabels',
        source=loader['dataset']['dataset'],
        labels=str(known),
    )


def _use_runtime(
    cfg: dict, log_interval: int, checkpoint_interval: int
) -> None:
    cfg.update(
        default_hooks=dict(
            runtime_info=dict(type='LateRuntimeInfoHook'),
            timer=dict(type='IterTimerHook'),
            logger=dict(type='LoggerHook', interval=log_interval),
            param_scheduler=dict(type='ParamSchedulerHook'),
            checkpoint=dict(
                type='SafeCheckpointHook',
                interval=checkpoint_interval,
                max_keep_ckpts=1,
            ),
            sampler_seed=dict(type='DistSamplerSeedHook'),
            batch_norm=dict(type='BatchNormHook'),
        ),
        default_scope='mmpretrain',
        custom_imports=dict(imports=['must_mm'], allow_failed_imports=False),
        env_cfg=dict(
            cudnn_benchmark=False,
            mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
            dist_cfg=dict(backend='nccl', timeout=3600),
        ),
        visualizer=dict(
            type='UniversalVisualizer',
            vis_backends=[dict(type='LocalVisBackend')],
        ),
        log_level='INFO',
    )


def _pipeline(cfg: Config, loader: str) -> list:
    """The pipeline of a config's data, with our way to load an image.

    Raises:
        ValueError: If it has none.
    """
    dataset = (cfg.get(loader) or {}).get('dataset') or {}
    if 'datasets' in dataset:
        dataset = dataset['datasets'][0]
    steps = dataset.get('pipeline')
    if not steps or steps[0]['type'] not in LOADERS:
        raise ValueError(
            f'--model {cfg.filename}: {loader}.dataset.pipeline does not '
            f'begin with {" or ".join(LOADERS)}'
        )
    load = dict(LOAD, lazy=True) if steps[0].get('lazy') else LOAD
    return [load, *(step.to_dict() for step in steps[1:])]


def own_config(
    path: Path,
    data: Data,
    workers: int,
    threshold: float | None = None,
    fairness: dict | None = None,
    network: str = 'student',
    seed: int = 0,
    epochs: int | None = None,
) -> dict:
    """A MUST config as it is, with other images and classes.

    What follows the batch is scaled to the batch of the run, as training
    would do, so that the config says what is trained.

    Args:
        path: The config.
        data: The images.
        workers: Loader processes.
        threshold: Its own by default.
        fairness: Options of :class:`FairnessLoss` to change.
        network: ``'student'`` or ``'teacher'``: which one predicts.
        seed: Seed of the run.
        epochs: Its own by default.

    Raises:
        ValueError: If it is no config of MUST with a start, or ``epochs``
            cannot be set in it.
    """
    given = load_config(path, '--model ')
    model = given.get('model', {})
    if model.get('type') != 'MUST' or not model.get('start'):
        raise ValueError(
            f'--model {path}: this is no config of MUST with model.start'
        )
    for key, value in model['start'].items():
        # from the root: a resumed run may begin in another folder
        if isinstance(value, str) and Path(value).expanduser().is_file():
            model['start'][key] = str(Path(value).expanduser().resolve())
    batch = min(given.train_dataloader.batch_size, data.count)
    cfg = dict(
        classes=data.classes,
        train_pipeline=_pipeline(given, 'train_dataloader'),
        test_pipeline=_pipeline(given, 'test_dataloader'),
    )
    kept = (
        'model optim_wrapper param_scheduler train_cfg custom_hooks '
        'published_batch'
    ).split()
    own = given.to_dict()
    cfg.update({key: own[key] for key in kept if key in own})
    model = cfg['model']
    model['head']['num_classes'] = len(data.classes)
    model['predict_with'] = network
    if threshold is not None:
        model['head']['threshold'] = threshold
    if fairness:
        loss = model['head'].get('fairness') or dict(type='FairnessLoss')
        model['head']['fairness'] = dict(loss, **fairness)
    if fairness and (model.get('pseudo_labels') or {}).get('alignment'):
        known = _pseudo_labels(fairness).get('alignment')
        model['pseudo_labels']['alignment'] = known and dict(
            model['pseudo_labels']['alignment'], prior=known['prior']
        )
    if 'classes' in model['start']:
        model['start']['classes'] = data.classes
    cfg['train_cfg'].pop('val_interval', None)
    cfg['custom_hooks'] = [
        hook
        for hook in cfg['custom_hooks']
        if hook['type']
        not in ('ValidateStartHook', 'ClassCheckHook', 'BadImageHook')
    ] + [dict(type='BadImageHook')]
    if epochs is not None:
        _set_epochs(cfg, epochs, path)
    passes = cfg['train_cfg']['max_epochs']
    _use_data(cfg, data, batch, workers)
    steps = passes * (data.count // batch)
    _use_runtime(cfg, max(1, steps // 200), max(1, passes // 20))
    cfg['randomness'] = dict(seed=seed)
    cfg = Config(cfg)
    follow_batch(cfg, processes=1)
    cfg = cfg.to_dict()
    _name_parts(cfg)
    return cfg


def _set_epochs(cfg: dict, epochs: int, path: Path) -> None:
    """Train for other epochs than the config was written for.

    Raises:
        ValueError: If it has schedules whose length cannot be told.
    """
    schedule = cfg.get('param_scheduler')
    if schedule:
        lengths = [name for name in ('T_max', 'end') if name in schedule]
        if not isinstance(schedule, dict) or not lengths:
            raise ValueError(
                f'--epochs: param_scheduler of {path} is not one schedule '
                'with T_max or end. Change its epochs there, with '
                'train_cfg.max_epochs, and leave --epochs out'
            )
        schedule.update(dict.fromkeys(lengths, epochs))
    cfg['train_cfg']['max_epochs'] = epochs


def follow_folder(cfg: Config, out: Path) -> bool:
    """Point a run's config at the lists of the folder that it lies in.

    The folder may have been renamed or copied since the config was written,
    and another run may lie where it was.

    Args:
        cfg: The config, changed in place.
        out: Folder of the run.

    Returns:
        Whether anything had to be changed.
    """
    changed = False

    def visit(part: object) -> None:
        nonlocal changed
        if isinstance(part, dict):
            for key in ('ann_file', 'labels'):
                listed = part.get(key)
                name = Path(listed).name if isinstance(listed, str) else ''
                if name in LISTS and listed != str(out / name):
                    part[key] = str(out / name)
                    changed = True
            part = list(part.values())
        if isinstance(part, (list, tuple)):
            for inner in part:
                visit(inner)

    for loader in ('train_dataloader', 'test_dataloader'):
        visit(cfg.get(loader))
    return changed


class _Name(str):
    """A variable, written without quotes."""

    __repr__ = str.__str__


def config_text(cfg: dict, header: str) -> str:
    """Write a config as a Python file.

    Args:
        cfg: The config; what it has of ``_VARIABLES`` is written once.
        header: Text of the comment it begins with.
    """
    parts = [f'# {line}'.rstrip() for line in header.split('\n')]
    order = [*_COMMENTS, *cfg]
    for key in sorted(cfg, key=order.index):
        if key in _COMMENTS:
            parts += ['', f'# {_COMMENTS[key]}']
        parts.append(f'{key} = {_source(_name_variables(cfg[key], cfg, key))}')
    # MMEngine replaces what stands in such braces
    parts = [part.replace('{{', '{\\x7b') for part in parts]
    text, _ = FormatCode('\n'.join(parts) + '\n', style_config=_STYLE)
    return text


def _source(value) -> str:
    """Python source of settings, dicts as calls where their keys allow."""
    if isinstance(value, dict):
        if all(
            str(key).isidentifier() and not iskeyword(key) for key in value
        ):
            items = ', '.join(f'{k}={_source(v)}' for k, v in value.items())
            return f'dict({items})'
        items = ', '.join(f'{k!r}: {_source(v)}' for k, v in value.items())
        return f'{{{items}}}'
    if isinstance(value, (list, tuple)):
        opening, closing = '[]' if isinstance(value, list) else '()'
        comma = ',' * (isinstance(value, tuple) and len(value) == 1)
        return opening + ', '.join(map(_source, value)) + comma + closing
    return repr(value)


def _name_variables(value, cfg: dict, key: str):
    """Replace what equals a variable, inside another key, by its name."""
    for name in _VARIABLES:
        if name != key and name in cfg and value and value == cfg[name]:
            return _Name(name)
    if isinstance(value, dict):
        return {k: _name_variables(v, cfg, key) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_name_variables(v, cfg, key) for v in value)
    return value


def _name_parts(cfg: dict) -> None:
    """Give mask and teacher a name, to be changed by it."""
    for name, kind, parts in (
        ('mask', 'MUSTMaskGenerator', cfg['train_pipeline']),
        ('teacher', 'EMATeacherHook', cfg['custom_hooks']),
    ):
        found = [part for part in parts if part['type'] == kind]
        if len(found) == 1:
            (cfg[name],) = found


def load_config(path: Path, option: str = '') -> Config:
    """Read a config, such as one that was written here and edited.

    Args:
        path: The config.
        option: What errors begin with.

    Raises:
        ValueError: If it cannot be read.
    """
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is code
        raise ValueError(
            f'{option}{path} cannot be read: {type(error).__name__}: {error}'
        ) from error
