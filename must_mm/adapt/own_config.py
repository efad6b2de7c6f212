"""A MUST config that is given as the model, with other images."""

from pathlib import Path

from mmengine.config import Config

from ..runs.batch_rule import follow_batch
from ..utils.pipelines import pipeline_of
from .config_parts import (
    LOAD,
    Data,
    use_data,
    use_runtime,
)
from .settings import fewer
from .written_config import load_config, name_parts

LOADERS = ('LoadImage', 'LoadImageFromFile')
LENGTHS = ('T_max', 'end')  # of a schedule


def _pipeline(cfg: Config, loader: str) -> list:
    """The pipeline of a config's data, with our way to load an image.

    Raises:
        ValueError: If it has none.
    """
    steps = pipeline_of((cfg.get(loader) or {}).get('dataset'))
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
        epochs: Its own by default; to go on from a result, a third of them
            where its schedule allows for it.

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
        own = model['pseudo_labels']['alignment']
        if fairness.get('loss_weight', 1) == 0:
            own = None
        elif fairness.get('prior'):
            own = dict(own, prior=fairness['prior'])
        model['pseudo_labels']['alignment'] = own
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
    elif data.after and _can_be_set(cfg.get('param_scheduler')):
        _set_epochs(cfg, fewer(cfg['train_cfg']['max_epochs']), path)
    passes = cfg['train_cfg']['max_epochs']
    use_data(cfg, data, batch, workers)
    steps = passes * (data.count // batch)
    use_runtime(cfg, max(1, steps // 200), max(1, passes // 20))
    cfg['randomness'] = dict(seed=seed)
    cfg = Config(cfg)
    follow_batch(cfg, processes=1)
    cfg = cfg.to_dict()
    name_parts(cfg)
    return cfg


def _can_be_set(schedule: object) -> bool:
    """Whether the length of a schedule can be told, if there is one."""
    return not schedule or (
        isinstance(schedule, dict)
        and schedule.get('by_epoch', True)
        and any(name in schedule for name in LENGTHS)
    )


def _set_epochs(cfg: dict, epochs: int, path: Path) -> None:
    """Train for other epochs than the config was written for.

    Raises:
        ValueError: If it has schedules whose length cannot be told.
    """
    schedule = cfg.get('param_scheduler')
    if not _can_be_set(schedule):
        raise ValueError(
            f'--epochs: param_scheduler of {path} is not one schedule with '
            'T_max or end in epochs. Change its epochs there, with '
            'train_cfg.max_epochs, and leave --epochs out'
        )
    if schedule:
        lengths = [name for name in LENGTHS if name in schedule]
        schedule.update(dict.fromkeys(lengths, epochs))
    cfg['train_cfg']['max_epochs'] = epochs
