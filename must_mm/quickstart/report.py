"""What the quickstart shows: a table and one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS

from ..checkpoints.plain import load_tensors
from ..utils.scalars import read_scalars

STRIP = 8  # images in the strip


@dataclass
class Log:
    """Curves of one run, read from MMEngine's ``scalars.json``.

    Attributes:
        student: Accuracy in [0, 1] before the first epoch and after each.
        teacher: The same of the teacher.
        epoch: Where the following were logged, in epochs.
        conf_ratio: Share of confident pseudo-labels, in [0, 1].
        pseudo_label_acc: Accuracy of the confident ones, in [0, 1]; NaN while
            there is none.
    """

    student: list[float]
    teacher: list[float]
    epoch: list[float]
    conf_ratio: list[float]
    pseudo_label_acc: list[float]


def read_log(work_dir: Path) -> Log:
    """Read the newest run in a work dir.

    Raises:
        FileNotFoundError: If the work dir holds no run.
    """
    lines = read_scalars(work_dir)[-1]
    val = [line for line in lines if 'student/accuracy/top1' in line]
    train = [line for line in lines if 'conf_ratio' in line]
    steps_per_epoch = max(
        (line['iter'] for line in train if line['epoch'] == 1), default=1
    )
    return Log(
        student=[line['student/accuracy/top1'] / 100 for line in val],
        teacher=[line['teacher/accuracy/top1'] / 100 for line in val],
        epoch=[line['iter'] / steps_per_epoch for line in train],
        conf_ratio=[line['conf_ratio'] for line in train],
        pseudo_label_acc=[
            line.get('pseudo_label_acc', np.nan) for line in train
        ],
    )


def table(summary: dict) -> str:
    """Format the accuracies on the held-out part, in per cent."""
    rows = [
        ('', 'student', 'teacher'),
        ('zero-shot', summary['zero_shot'], summary['zero_shot']),
        (
            'self-training alone',
            summary['self_training_only'],
            summary['self_training_only_teacher'],
        ),
        ('MUST, as published', summary['student'], summary['teacher']),
        ('balanced labels', summary['balanced'], summary['balanced_teacher']),
    ]
    lines = []
    for name, *cells in rows:
        shown = [
            cell if isinstance(cell, str) else f'{100 * cell:.1f} %'
            for cell in cells
        ]
        lines.append(f'{name:22}' + ''.join(f'{cell:>10}' for cell in shown))
    return '\n'.join(lines)


def draw_picture(root: Path, logs: dict[str, Log], path: Path) -> None:
    """Draw accuracy and pseudo-label curves above a strip of images.

    Args:
        root: Folder of the quickstart, with the run ``must`` in it.
        logs: Curves of the runs, by name.
        path: PNG file to write.
    """
    figure = Figure(figsize=(10, 8), layout='constrained')
    curves, strip = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    left, right = curves.subplots(1, 2)
    _draw_accuracy(left, logs)
    _draw_pseudo_labels(right, logs['must'])
    _draw_strip(strip, root / 'must')
    figure.savefig(path, dpi=120)


def _draw_accuracy(axes: Axes, logs: dict[str, Log]) -> None:
    for name, label, colour in (
        ('balanced', 'balanced labels', 'tab:green'),
        ('must', 'MUST, as published', 'tab:blue'),
        ('self_training', 'self-training alone', 'tab:orange'),
    ):
        for who, style in (('student', '-'), ('teacher', '--')):
            values = 100 * np.array(getattr(logs[name], who))
            axes.plot(values, style, color=colour, label=f'{label}, {who}')
    zero_shot = 100 * logs['must'].student[0]
    axes.axhline(zero_shot, color='grey', lw=1, label='zero-shot')
    axes.set(
        title='Accuracy on the held-out part (%)',
        xlabel='epoch',
        ylim=(0, 100),
    )
    axes.legend(fontsize=8, loc='lower right')
    axes.grid(alpha=0.3)


def _draw_pseudo_labels(axes: Axes, log: Log) -> None:
    axes.plot(
        log.epoch,
        100 * np.array(log.conf_ratio),
        label='share that is confident',
    )
    axes.plot(
        log.epoch,
        100 * np.array(log.pseudo_label_acc),
        label='accuracy of the confident',
    )
    axes.set(title='Pseudo-labels (%)', xlabel='epoch', ylim=(0, 102))
    axes.legend(fontsize=8, loc='lower right')
    axes.grid(alpha=0.3)


@torch.no_grad()
def _draw_strip(figure: SubFigure, work_dir: Path) -> None:
    """Draw weak view, masked view, reconstruction and pseudo-label."""
    cfg = Config.fromfile(next(work_dir.glob('*.py')))
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    samples = [dataset[index] for index in range(STRIP)]
    model = MODELS.build(dict(cfg.model, start=None)).eval()
    checkpoint = (work_dir / 'last_checkpoint').read_text()
    model.load_state_dict(load_tensors(checkpoint)['state_dict'])

    batch = model.data_preprocessor(default_collate(samples), training=True)
    weak, strong = batch['inputs']
    mask = model.stack_masks(batch['data_samples'])
    _, patches = model.masked_features(strong, mask)
    reconstruction = model.decoder(patches)
    side = strong.shape[-1] // mask.shape[-1]
    pixels = mask.repeat_interleave(side, 1).repeat_interleave(side, 2)[
        :, None
    ]
    confidence, label = model.teacher_probs(weak).max(dim=1)
    classes = dataset.metainfo['classes']

    def to_rgb(images: torch.Tensor) -> np.ndarray:
        pre = model.data_preprocessor
        pixels = (images * pre.std + pre.mean) / 255
        return pixels.clamp(0, 1).permute(0, 2, 3, 1).numpy()

    masked = torch.where(pixels, torch.zeros_like(strong), strong)
    filled = torch.where(pixels, reconstruction, strong)
    rows = ('weak view', 'masked view', 'reconstruction')
    grid = figure.subplots(len(rows), STRIP)
    for row, (name, images) in enumerate(
        zip(rows, map(to_rgb, (weak, masked, filled)), strict=True)
    ):
        for axes, image in zip(grid[row], images, strict=True):
            axes.imshow(image)
            axes.set(xticks=[], yticks=[])
        grid[row][0].set_ylabel(name, fontsize=8)
    for axes, sure, index in zip(grid[-1], confidence, label, strict=True):
        text = f'{classes[index]}\n{sure:.0%}'
        if sure <= model.head.threshold:
            text += ', unused'
        axes.set_xlabel(text, fontsize=8)
    figure.suptitle("Below each: the teacher's pseudo-label", fontsize=9)
