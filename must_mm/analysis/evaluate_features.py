"""Evaluate the features of a checkpoint from the command line."""

import argparse
import json
from pathlib import Path

import torch.nn as nn
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch.utils.data import DataLoader

from ..checkpoints.plain import load_tensors
from ..evaluation.clustering import cluster_metrics
from ..evaluation.features import FEATURES, NECK, Features, extract_features
from ..evaluation.knn import knn_accuracy
from ..evaluation.linear import linear_probe
from ..evaluation.low_shot import low_shot_accuracy
from ..runs.arguments import OverrideAction, naming_loader
from ..runs.launch import load_config

METRICS = ('knn', 'linear', 'low-shot', 'clustering')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the options of ``tools/evaluate_features.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint to evaluate')
    parser.add_argument(
        '--metrics',
        nargs='+',
        choices=METRICS,
        default=list(METRICS),
        help='what to measure; everything by default',
    )
    parser.add_argument(
        '--feature',
        choices=FEATURES,
        help='by default the class token of a transformer, the mean of a map',
    )
    parser.add_argument(
        '--out', help='JSON file; <work dir>/features.json by default'
    )
    parser.add_argument('--work-dir', help='work_dirs/<config> by default')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OverrideAction,
        metavar='KEY=VALUE',
        help='override config keys, e.g. model.predict_with=teacher',
    )
    parser.set_defaults(launcher='none')
    return parser.parse_args(argv)


def load_model(cfg: Config, feature: str | None = None) -> nn.Module:
    """Build the config's model with the weights of ``cfg.load_from``.

    Raises:
        ValueError: If the checkpoint lacks weights the features depend on.
    """
    model_cfg = cfg.model.copy()
    if 'start' in model_cfg:
        model_cfg.start = None  # the checkpoint brings the weights
    model = MODELS.build(model_cfg)
    checkpoint = load_tensors(cfg.load_from)
    weights = checkpoint.get('state_dict', checkpoint)
    weights = {
        name.removeprefix('module.'): value for name, value in weights.items()
    }
    needed = ('backbone.', 'neck.') if feature == NECK else ('backbone.',)
    missing = [
        name
        for name in model.load_state_dict(weights, strict=False).missing_keys
        if any(part in name for part in needed)
    ]
    if missing:
        raise ValueError(
            f'{cfg.load_from} lacks {len(missing)} weights of the model '
            f'({", ".join(missing[:3])}, ...): its features would be random. '
            'Make model those of the checkpoint, or give another checkpoint'
        )
    return model.to(get_device())


def dataloaders(cfg: Config) -> dict[str, dict]:
    """Configs of the labelled images to learn from, and of those judged on.

    The first is ``bank_dataloader``; where a config has none, it is the
    training set through the pipeline, loader and sampler of the test set.

    Returns:
        The two configs by the keys they come from.

    Raises:
        ValueError: If the config has neither.
    """
    name = 'test_dataloader'
    if not cfg.get(name):
        name = 'val_dataloader'
    test, train = cfg.get(name), cfg.get('train_dataloader')
    if not test:
        raise ValueError(
            'the config has no test_dataloader or val_dataloader: the '
            'labelled images that features are judged on'
        )
    if cfg.get('bank_dataloader'):
        return {'bank_dataloader': cfg.bank_dataloader, name: test}
    # a wrapped data set has its pipelines further inside
    if not train or not all('pipeline' in of.dataset for of in (train, test)):
        raise ValueError(
            'no bank_dataloader, and none can be made of train_dataloader '
            f'and {name}: set bank_dataloader to the labelled training images '
            'in evaluation views'
        )
    bank = test.copy()
    bank.dataset = train.dataset.copy()
    bank.dataset.pipeline = test.dataset.pipeline
    return {'train_dataloader': bank, name: test}


def build_loader(name: str, loader: dict) -> DataLoader:
    """Build the data loader of a config key."""
    with naming_loader(name):
        return Runner.build_dataloader(loader)


def evaluate(bank: Features, test: Features, metrics: list[str]) -> dict:
    """Measure ``metrics``, each with its defaults.

    Args:
        bank: Labelled features to learn from.
        test: Labelled features to be judged on; they alone are clustered.
        metrics: Any of :data:`METRICS`.

    Returns:
        For each metric its results; accuracies in [0, 1].
    """
    device = get_device()
    queries = Features(test.features.to(device), test.labels)
    pair = (*bank, *test)
    results = {}
    if 'knn' in metrics:
        results['knn'] = dict(accuracy=knn_accuracy(*queries, *bank))
    if 'linear' in metrics:
        rates = linear_probe(*pair, device=device)
        results['linear'] = dict(best=max(rates.values()), by_base_lr=rates)
    if 'low-shot' in metrics:
        results['low-shot'] = {
            shots: score._asdict()
            for shots, score in low_shot_accuracy(*pair).items()
        }
    if 'clustering' in metrics:
        results['clustering'] = cluster_metrics(*test)
    return results


def table(results: dict) -> str:
    """Lay the results of :func:`evaluate` out for the screen."""
    rows = []
    if 'knn' in results:
        rows.append(('k-NN, k=10', results['knn']['accuracy'], ''))
    if 'linear' in results:
        rates = results['linear']['by_base_lr']
        best = max(rates, key=rates.get)
        note = f'base rate {best}; {len(rates)} rates: worst '
        note += f'{100 * min(rates.values()):.2f}; chosen on the test images'
        rows.append(('linear probe, best', results['linear']['best'], note))
    for shots, score in results.get('low-shot', {}).items():
        note = f'± {100 * score["std"]:.2f} over the draws'
        rows.append((f'{shots} per class', score['mean'], note))
    if 'clustering' in results:
        found = results['clustering']
        note = f'NMI {found["nmi"]:.3f}, ARI {found["ari"]:.3f}'
        rows.append(('k-means clusters', found['accuracy'], note))
    lines = [f'{"":20}{"accuracy":>10}']
    lines += [
        f'{name:20}{100 * value:8.2f} %  {note}'.rstrip()
        for name, value, note in rows
    ]
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> dict:
    """Extract, evaluate, print a table and write a JSON file.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        What the JSON file holds.
    """
    args = parse_args(argv)
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    loaders = dataloaders(cfg)
    model = load_model(cfg, args.feature)
    bank, test = (
        extract_features(model, build_loader(name, loader), args.feature, name)
        for name, loader in loaders.items()
    )
    report = dict(
        config=args.config,
        checkpoint=args.checkpoint,
        options=args.cfg_options or {},
        feature=args.feature,
        width=test.features.shape[1],
        training_images=len(bank.labels),
        test_images=len(test.labels),
        results=evaluate(bank, test, args.metrics),
    )
    out = Path(args.out or Path(cfg.work_dir, 'features.json'))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + '\n')
    print(
        f'{report["training_images"]} training images, '
        f'{report["test_images"]} test images, {report["width"]} numbers each'
    )
    print(table(report['results']))
    print(f'{out} is written')
    return report
