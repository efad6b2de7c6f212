"""What every config of a run has: its images, and how it is run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..utils.machine import device_type

LOAD = dict(type='LoadImage')
OF_IMAGES = ('images.txt', 'trained.txt')  # lists of the folder of images
LISTS = (*OF_IMAGES, 'labelled.txt', 'known.txt')
LABELLED_SHARE = 0.25  # of each batch, where there are labels


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


def balanced_labels(fairness: dict) -> dict:
    """Labels that spread as the classes do, where that is known.

    Args:
        fairness: Options of :class:`FairnessLoss`; a weight of 0 says that it
            is not.
    """
    if fairness.get('loss_weight', 1) == 0:
        return dict()
    prior = fairness.get('prior')
    return dict(
        alignment=dict(type='BalancedLabels', prior=prior, strength='auto')
    )


def stated_prior(cfg: Config) -> Sequence[float] | None:
    """The shares that a config trains towards; ``None`` if they are even."""
    return (cfg.model.head.get('fairness') or {}).get('prior')


def use_data(cfg: dict, data: Data, batch: int, workers: int) -> None:
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
        use_labels(cfg, data.known)
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


def use_labels(cfg: dict, known: Path, share: float = LABELLED_SHARE) -> None:
    """Let a config learn the labels of a list.

    Args:
        cfg: The config, changed in place.
        known: Text file of images and their classes.
        share: Of each batch, that is of such images, beside those that come
            in their turn.
    """
    if not cfg['model'].get('label_loss'):
        cfg['model']['label_loss'] = dict(type='LabelLoss')
    loader = cfg['train_dataloader']
    loader['sampler'] = dict(
        type='LabelledShareSampler', share=share, shuffle=True
    )
    dataset = loader['dataset']
    source = dataset.get('source', dataset['dataset'])
    loader['dataset'] = dict(
        dataset, dataset='KnownLabels', source=source, labels=str(known)
    )


def use_runtime(
    cfg: dict, log_interval: int, checkpoint_interval: int
) -> None:
    """Add what every run has: hooks, environment, log.

    Args:
        cfg: The config, which is changed.
        log_interval: Steps from one line of the log to the next.
        checkpoint_interval: Epochs from one checkpoint to the next.
    """
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
            type='LateVisualizer',
            vis_backends=[dict(type='LocalVisBackend')],
        ),
        log_level='INFO',
    )


def follow_folders(
    cfg: Config, out: Path, images: Path, after: Path | None
) -> bool:
    """Point a run's config at where its files lie now.

    Their folders may have been renamed or copied since the config was
    written, and another run may lie where this one was.

    Args:
        cfg: The config, changed in place.
        out: Folder of the run.
        images: Folder of images.
        after: Checkpoint to go on from, if that is not the start.

    Returns:
        Whether anything had to be changed.
    """
    changed = False

    def put(part: dict, key: str, path: Path) -> None:
        nonlocal changed
        if part.get(key) != str(path):
            part[key] = str(path)
            changed = True

    def visit(part: object) -> None:
        if isinstance(part, dict):
            for key in ('ann_file', 'labels'):
                listed = part.get(key)
                name = Path(listed).name if isinstance(listed, str) else ''
                if name in LISTS:
                    put(part, key, out / name)
                if key == 'ann_file' and name in OF_IMAGES:
                    put(part, 'data_root', images)
            part = list(part.values())
        if isinstance(part, (list, tuple)):
            for inner in part:
                visit(inner)

    for loader in ('train_dataloader', 'test_dataloader'):
        visit(cfg.get(loader))
    if after:
        put(cfg, 'load_from', after)
    return changed
