"""From a command line to MMEngine's runner."""

import argparse
import gc
import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from mmpretrain.registry import MODELS, TASK_UTILS

from ..checkpoints.plain import keep
from ..checkpoints.resume import check_resumable, find_resumable, is_remote
from ..checkpoints.share import share
from ..engine.autocast import mixed_precision
from ..engine.guards import check_training_data
from ..models.must import MUST
from ..utils.distributed import check_whole_weights, from_main_process
from ..utils.registry import is_a
from .arguments import OverrideAction, naming_loader, without_start
from .batch_rule import count_processes, follow_batch
from .loader_workers import follow_cores
from .named_parts import merge_options
from .written_once import written_once

LOCAL = dict(
    pytorch='LOCAL_RANK',
    slurm='SLURM_LOCALID',
    mpi='OMPI_COMM_WORLD_LOCAL_RANK',
)


def parse_args(
    description: str, phase: str, argv: list[str] | None = None
) -> argparse.Namespace:
    """Parse the options of ``tools/train.py`` and ``tools/test.py``.

    Args:
        description: Shown by ``--help``.
        phase: ``'train'`` or ``'test'``.
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    if phase == 'test':
        parser.add_argument('checkpoint', help='checkpoint to evaluate')
    parser.add_argument(
        '--work-dir',
        help='where logs and checkpoints go; '
        'work_dirs/<name of the config> by default',
    )
    if phase == 'train':
        parser.add_argument(
            '--resume',
            nargs='?',
            const='auto',
            help='go on from the newest whole checkpoint in the work dir, or '
            'from the given one',
        )
        parser.add_argument(
            '--amp',
            action='store_true',
            help='mixed precision: bfloat16, or float16 and a scaled loss on '
            'GPUs that have no bfloat16',
        )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OverrideAction,
        metavar='KEY=VALUE',
        help='override config keys, e.g. model.head.threshold=0.5',
    )
    return parser.parse_args(argv)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and merge the command line's options into it.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
    """
    if not Path(args.config).is_file():
        raise FileNotFoundError(f'there is no config {args.config}')
    cfg = Config.fromfile(args.config)
    merge_options(cfg, args.cfg_options or {})
    follow_cores(cfg)
    cfg.launcher = args.launcher
    cfg.work_dir = (
        args.work_dir
        or cfg.get('work_dir')
        or str(Path('work_dirs') / Path(args.config).stem)
    )
    checkpoint = getattr(args, 'checkpoint', None)
    if checkpoint:
        cfg.load_from = checkpoint
    if getattr(args, 'amp', False):
        for key in ('dtype', 'loss_scale'):
            cfg.optim_wrapper.pop(key, None)
        cfg.optim_wrapper.update(mixed_precision())
    return cfg


def choose_checkpoint(
    cfg: Config, resume: str | None
) -> tuple[bool, str | None, list[str]]:
    """Settle what a run goes on from.

    Args:
        cfg: Config of the run.
        resume: A checkpoint, ``'auto'`` for the newest whole one of the work
            dir, or ``None``.

    Returns:
        ``resume`` and ``load_from`` for the runner: without any checkpoint
        yet the run begins as without ``--resume``; and what was chosen and
        what was skipped, to be logged.

    Raises:
        FileNotFoundError: If the given checkpoint does not exist.
        ValueError: If the given one, or any in the work dir, is not whole.
        OSError: If a file cannot be read now.
    """
    load_from = cfg.get('load_from')
    if cfg.get('resume') and not resume:
        resume = load_from or 'auto'
    if not resume:
        return False, load_from, []
    if resume != 'auto':
        if not is_remote(resume):
            keep(resume, check_resumable(resume))
        return True, resume, []
    newest, skipped = find_resumable(cfg.work_dir, to_load=True)
    if newest is None:
        line = f'--resume: no checkpoint in {cfg.work_dir}, the run begins'
        return False, load_from, [line]
    return (
        True,
        newest,
        [f'--resume skips {reason}' for reason in skipped]
        + [f'--resume goes on from {newest}'],
    )


def prepare_start(cfg: Config) -> None:
    """Build what the run starts from, before the processes meet.

    A collective operation of those that wait would time out.
    """
    start = cfg.model.get('start') and TASK_UTILS.build(cfg.model.start)
    if not hasattr(start, 'prepare'):
        return
    if torch.cuda.is_available() and cfg.launcher != 'none':
        torch.cuda.set_device(int(os.environ.get(LOCAL[cfg.launcher], 0)))
    start.prepare()


def metrics_of(evaluator: dict | list[dict] | None) -> list[dict]:
    """Return the configs of metrics in that of an evaluator.

    It may be one of them, a list, or hold one or a list as ``metrics``.
    """
    if not isinstance(evaluator, dict):
        return evaluator or []
    if 'metrics' in evaluator:  # as MMEngine tells them apart
        return metrics_of(evaluator['metrics'])
    return [evaluator]


def join_processes(cfg: Config) -> None:
    """Let the processes meet, if there are several, as the runner would."""
    if cfg.launcher == 'none':
        return
    for key in ('val_evaluator', 'test_evaluator'):
        for metric in metrics_of(cfg.get(key)):
            # results go from process to process; by default they would go
            # through files, which nodes may not share
            metric.setdefault('collect_device', 'gpu')
    env = cfg.get('env_cfg', {})
    set_multi_processing(**env.get('mp_cfg', {}), distributed=True)
    options = env.get('dist_cfg', {})
    if cfg.launcher == 'pytorch' and not torch.cuda.is_available():
        use_gloo(cfg, options.get('timeout'))
    else:
        init_dist(cfg.launcher, **options)


def use_gloo(cfg: Config, timeout: float | None) -> None:
    """Join the processes over gloo: MMEngine's launcher needs CUDA.

    MMEngine binds every process to a GPU, and its data-parallel wrapper
    names a device, which PyTorch refuses for models on the CPU.

    Args:
        cfg: Config of the run, changed in place.
        timeout: Seconds that an operation may take.
    """
    dist.init_process_group(
        'gloo', timeout=timeout and timedelta(seconds=timeout)
    )
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        # as on GPUs: the ranks' buffers are equal, or averaged by a hook
        broadcast_buffers=False,
    )
    print_log(
        f'no CUDA device: {dist.get_world_size()} processes on the CPU, '
        'joined by gloo',
        'current',
    )


def build_trainer(cfg: Config, args: argparse.Namespace) -> Runner:
    """Build a runner for training and check its data.

    Args:
        cfg: Config of the run, adjusted in place.
        args: The command line.
    """
    changes = follow_batch(cfg, count_processes(args.launcher))
    # one choice for all: a file may be out of reach of one rank for a moment
    cfg.resume, cfg.load_from, resumed = from_main_process(
        lambda: choose_checkpoint(cfg, args.resume)
    )
    if cfg.resume and not is_remote(cfg.load_from):
        share(cfg.load_from)
    runner = Runner.from_cfg(written_once(cfg))
    if changes:
        runner.logger.info(changes)
    for line in resumed:
        runner.logger.info(line)
    # before the schedule is built, which fails without a clear reason
    with naming_loader('train_dataloader'):
        loader = runner.train_dataloader
    check_training_data(loader)
    check_whole_weights(runner.model)
    return runner


def build_tester(cfg: Config) -> Runner:
    """Build a runner that tests a checkpoint.

    MUST's start is not read, as the checkpoint brings all weights. The config
    that is written into the work dir keeps it: training from that one would
    begin with random weights otherwise.

    Args:
        cfg: Config of the run, with ``load_from``.
    """
    if is_a(MODELS, cfg.model, MUST):
        runner = Runner.from_cfg(without_start(cfg))
        runner.cfg.model.start = cfg.model.get('start')
        runner.dump_config()
    else:
        runner = Runner.from_cfg(cfg)
    # the evaluators, which are built here too, raise ValueErrors of their own
    with naming_loader('test_dataloader', (OSError, RuntimeError)):
        _ = runner.test_loop
    return runner


def build_runner(
    description: str, phase: str, argv: list[str] | None = None
) -> Runner:
    """Build the runner that a command line describes.

    Args:
        description: Shown by ``--help``.
        phase: ``'train'`` or ``'test'``.
        argv: Arguments; those of the process by default.
    """
    args = parse_args(description, phase, argv)
    cfg = load_config(args)
    if phase == 'train':
        prepare_start(cfg)
    join_processes(cfg)
    if phase == 'train':
        return build_trainer(cfg, args)
    return build_tester(cfg)


def main(description: str, phase: str, argv: list[str] | None = None) -> None:
    """Run a command line: build its runner, train or test.

    Args:
        description: Shown by ``--help``.
        phase: ``'train'`` or ``'test'``.
        argv: Arguments; those of the process by default.
    """
    # MMEngine searches all objects for garbage with every data set
    gc.freeze()
    runner = build_runner(description, phase, argv)
    getattr(runner, phase)()
    if dist.is_initialized():
        # gloo's threads abort a process that ends while they still run
        dist.destroy_process_group()
