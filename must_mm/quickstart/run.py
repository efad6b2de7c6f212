"""The quickstart: start model, target, three ways to adapt it, report."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config

from ..utils.paths import config_path, tool_path
from ..utils.versions import installed_versions
from .report import draw_picture, read_log, table
from .target import write_digits
from .tiny_clip import NAME, train_tiny_clip

RUNS = {
    'must': 'must/quickstart_digits.py',
    'self_training': 'must/quickstart_digits_self-training.py',
    'balanced': 'must/quickstart_digits_balanced.py',
}


def options(root: Path) -> dict[str, object]:
    """Config keys that point a quickstart config at another folder."""
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    return {
        'model.start.model': f'{root}/start/{NAME}.json',
        'model.start.pretrained': f'{root}/start/{NAME}.pt',
        'model.start.cache_dir': f'{root}/start',
        **{
            f'{loader}.dataset.data_root': f'{root}/digits'
            for loader in loaders
        },
    }


def epoch_keys(cfg: Config, epochs: int) -> dict[str, object]:
    """Config keys by which a recipe of any schedule trains for epochs."""
    length = 'T_max' if 'T_max' in cfg.param_scheduler else 'end'
    return {
        'train_cfg.max_epochs': epochs,
        f'param_scheduler.{length}': epochs,
    }


def shortened(config: str, epochs: int | None) -> dict[str, object]:
    """Config keys that train for other epochs than a config says."""
    if epochs is None:
        return {}
    return epoch_keys(Config.fromfile(config_path(config)), epochs)


def train(config: str, work_dir: Path, keys: dict[str, object]) -> None:
    """Run ``tools/train.py``, showing its output.

    Raises:
        SystemExit: If it fails; its output has said why.
    """
    command = [
        sys.executable,
        str(tool_path('train.py')),
        str(config_path(config)),
        '--work-dir',
        str(work_dir),
        '--cfg-options',
        *(f'{key}={value}' for key, value in keys.items()),
    ]
    code = subprocess.run(command)
    if code.returncode:
        raise SystemExit(f'quickstart: {" ".join(command)} failed')


def quickstart(
    root: str | Path,
    seed: int = 0,
    renderings: int = 20000,
    start_epochs: int = 4,
    epochs: int | None = None,
) -> dict:
    """Run all stages and leave ``summary.json`` and ``quickstart.png``.

    Args:
        root: Folder of the run; made where missing.
        seed: Seed of the start model and of the adaptation.
        renderings: Renderings that the start model is trained on.
        start_epochs: Epochs of the start model.
        epochs: Epochs of the adaptation; the config's by default.

    Returns:
        What ``summary.json`` holds: accuracies on the held-out part as
        fractions, seconds per stage, versions.
    """
    root = Path(root)
    seconds = {}

    def say(message: str) -> None:
        print(f'[quickstart] {message}', flush=True)

    def timed(stage: str, title: str, work) -> None:
        say(title)
        begin = time.monotonic()
        work()
        seconds[stage] = round(time.monotonic() - begin, 1)

    timed(
        'start',
        '1/5 a tiny CLIP learns rendered digits',
        lambda: train_tiny_clip(
            root / 'start',
            seed,
            renderings=renderings,
            epochs=start_epochs,
            progress=say,
        ),
    )
    timed(
        'target',
        "2/5 scikit-learn's handwritten digits as PNG files",
        lambda: write_digits(root / 'digits', 32),
    )
    keys = options(root) | {'randomness.seed': seed}
    titles = (
        '3/5 MUST adapts it, without labels',
        '4/5 self-training alone',
        '5/5 balanced labels',
    )
    for title, (name, config) in zip(titles, RUNS.items(), strict=True):
        chosen = keys | shortened(config, epochs)
        timed(name, title, lambda: train(config, root / name, chosen))  # noqa: B023

    logs = {name: read_log(root / name) for name in RUNS}
    summary = {
        'zero_shot': logs['must'].student[0],
        'student': logs['must'].student[-1],
        'teacher': logs['must'].teacher[-1],
        'self_training_only': logs['self_training'].student[-1],
        'self_training_only_teacher': logs['self_training'].teacher[-1],
        'balanced': logs['balanced'].student[-1],
        'balanced_teacher': logs['balanced'].teacher[-1],
        'seed': seed,
        'seconds': seconds,
        'versions': installed_versions(),
    }
    (root / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
    draw_picture(root, logs, root / 'quickstart.png')
    print(table(summary))
    say(f'{root}/summary.json and {root}/quickstart.png are written')
    return summary


def main(argv: list[str] | None = None) -> None:
    """Command line of ``tools/quickstart.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', default='work_dirs/quickstart')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--renderings', type=int, default=20000, help='for the start model'
    )
    parser.add_argument(
        '--start-epochs', type=int, default=4, help='of the start model'
    )
    parser.add_argument('--epochs', type=int, help='of the adaptation')
    args = parser.parse_args(argv)
    quickstart(
        args.work_dir,
        args.seed,
        args.renderings,
        args.start_epochs,
        args.epochs,
    )
