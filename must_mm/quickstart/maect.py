"""The MAE-CT quickstart: three stages on digits, a table, a picture."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from PIL import Image

from ..checkpoints.plain import load_tensors
from ..evaluation import (
    cluster_metrics,
    knn_accuracy,
    linear_probe,
    low_shot_accuracy,
)
from ..utils.paths import config_path
from .run import installed_versions, train
from .target import CLASS_NAMES, write_digits

#: Stage, config and title, in order.
STAGES = (
    ('mae', 'quickstart_digits_mae', '1/3 a masked autoencoder'),
    ('stage2', 'quickstart_digits_stage2', '2/3 the head'),
    ('stage3', 'quickstart_digits_stage3', '3/3 contrastive tuning'),
)
#: What is compared: the stage and its encoder's name in the checkpoint.
ENCODERS = {'MAE': ('mae', 'backbone.'), 'MAE-CT': ('stage3', 'encoder_ema.')}
PROBE_BATCH = 64  # of the linear probe
METRICS = {
    'knn': 'k-NN',
    'linear': 'linear',
    'five_shot': '5-shot',
    'clustering': 'clustering',
}


def read_split(root: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Read images (N, H, W, 3), uint8, and labels (N,) of one part."""
    lines = (root / f'{split}_labels.txt').read_text().splitlines()
    names, labels = zip(*(line.rsplit(' ', 1) for line in lines), strict=True)
    images = [np.asarray(Image.open(root / split / name)) for name in names]
    return (
        torch.from_numpy(np.stack(images)),
        torch.tensor([int(label) for label in labels]),
    )


@torch.no_grad()
def encode(checkpoint: str | Path, prefix: str, images) -> torch.Tensor:
    """Pooled features (N, D) of an encoder in a checkpoint.

    Args:
        checkpoint: Written by any of the stages.
        prefix: The encoder's name there, with the dot.
        images: RGB images, (N, H, W, 3), uint8.
    """
    cfg = Config.fromfile(config_path('mae_ct/quickstart_digits_stage2.py'))
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    state = load_tensors(checkpoint)['state_dict']
    model.backbone.load_state_dict(
        {name: state[prefix + name] for name in model.backbone.state_dict()}
    )
    norm = cfg.model.data_preprocessor
    images = (images.float() - torch.tensor(norm.mean)) / torch.tensor(
        norm.std
    )
    parts = images.permute(0, 3, 1, 2).split(256)
    return torch.cat([model.extract_feat(p, 'pre_logits') for p in parts])


def measure(
    train: torch.Tensor,
    train_labels: torch.Tensor,
    test: torch.Tensor,
    test_labels: torch.Tensor,
) -> dict[str, float]:
    """Judge frozen features by four measures, each in [0, 1].

    ``linear`` is the best of ten learning rates, as published.

    Args:
        train: Features to learn from, (N, D).
        train_labels: Their labels, (N,).
        test: Features to be judged on, (M, D).
        test_labels: Their labels, (M,).

    Returns:
        Accuracies by the keys of :data:`METRICS`.
    """
    probes = linear_probe(
        train, train_labels, test, test_labels, batch_size=PROBE_BATCH
    )
    few = low_shot_accuracy(train, train_labels, test, test_labels, shots=[5])
    clusters = cluster_metrics(F.normalize(test), test_labels)
    return {
        'knn': knn_accuracy(test, test_labels, train, train_labels),
        'linear': max(probes.values()),
        'five_shot': few[5].mean,
        'clustering': clusters['accuracy'],
    }


def table(results: dict[str, dict[str, float]]) -> str:
    """Format the accuracies in per cent, an encoder a line."""
    lines = [' ' * 8 + ''.join(f'{title:>12}' for title in METRICS.values())]
    for name, found in results.items():
        cells = (f'{100 * found[key]:.1f} %' for key in METRICS)
        lines.append(f'{name:8}' + ''.join(f'{cell:>12}' for cell in cells))
    return '\n'.join(lines)


def draw_embedding(
    features: dict[str, torch.Tensor], labels: torch.Tensor, path: Path
) -> None:
    """Draw each encoder's features in two dimensions, classes coloured.

    Args:
        features: (N, D) by the encoder's name.
        labels: Labels of the N images.
        path: PNG file to write.
    """
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import normalize

    figure = Figure(figsize=(10, 5), layout='constrained')
    axes = figure.subplots(1, len(features))
    for one, (name, feats) in zip(axes, features.items(), strict=True):
        flat = TSNE(random_state=0).fit_transform(normalize(feats.numpy()))
        one.scatter(*flat.T, c=labels, cmap='tab10', s=8)
        for digit in range(len(CLASS_NAMES)):
            centre = np.median(flat[labels.numpy() == digit], axis=0)
            one.text(*centre, str(digit), fontsize=14, weight='bold')
        one.set(title=name, xticks=[], yticks=[])
    figure.suptitle('Held-out digits in two dimensions (t-SNE)')
    figure.savefig(path, dpi=120)


def stage_options(root: Path, seed: int, epochs: dict[str, int]) -> dict:
    """Config keys of each stage that point it at a folder."""
    found = {}
    start = None
    for stage, config, _ in STAGES:
        cfg = Config.fromfile(config_path(f'mae_ct/{config}.py'))
        count = epochs.get(stage, cfg.train_cfg.max_epochs)
        found[stage] = {
            'train_dataloader.dataset.data_root': f'{root}/digits',
            'randomness.seed': seed,
            'train_cfg.max_epochs': count,
            'param_scheduler.end': count,
            **({'load_from': start} if start else {}),
        }
        start = f'{root}/{stage}/epoch_{count}.pth'
    return found


def quickstart(
    root: str | Path,
    seed: int = 0,
    split: str = 'test',
    epochs: dict[str, int] | None = None,
) -> dict:
    """Run all stages and leave ``summary.json`` and ``embedding.png``.

    Args:
        root: Folder of the run; made where missing.
        seed: Seed of all stages.
        split: Held-out part, ``'test'``, or ``'val'`` to choose settings.
        epochs: Epochs by stage where they are not the config's.

    Returns:
        What ``summary.json`` holds: accuracies as fractions, seconds per
        stage, versions.
    """
    root, seconds = Path(root), {}
    write_digits(root / 'digits', 32)
    options = stage_options(root, seed, epochs or {})
    for stage, config, title in STAGES:
        print(f'[quickstart] {title}', flush=True)
        begin = time.monotonic()
        train(f'mae_ct/{config}.py', root / stage, options[stage])
        seconds[stage] = round(time.monotonic() - begin, 1)

    bank, bank_labels = read_split(root / 'digits', 'train')
    images, labels = read_split(root / 'digits', split)
    results, features = {}, {}
    for name, (stage, prefix) in ENCODERS.items():
        checkpoint = (root / stage / 'last_checkpoint').read_text()
        features[name] = encode(checkpoint, prefix, images)
        results[name] = measure(
            encode(checkpoint, prefix, bank),
            bank_labels,
            features[name],
            labels,
        )
    summary = dict(
        results=results,
        split=split,
        seed=seed,
        seconds=seconds,
        versions=installed_versions(),
    )
    (root / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
    draw_embedding(features, labels, root / 'embedding.png')
    print(table(results))
    print(f'[quickstart] {root}/summary.json, {root}/embedding.png written')
    return summary


def main(argv: list[str] | None = None) -> None:
    """Command line of ``tools/maect_quickstart.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', default='work_dirs/maect_quickstart')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--split',
        choices=['val', 'test'],
        default='test',
        help='held-out part; val is for choosing settings',
    )
    args = parser.parse_args(argv)
    quickstart(args.work_dir, args.seed, args.split)
