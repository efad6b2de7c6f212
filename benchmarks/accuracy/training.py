"""One run: a task, a setting, a start and a draw, by the real runner."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from must_mm.engine.collapse import CollapseHook
from must_mm.evaluation.calibration import mix, mixed_pairs
from must_mm.models.effective_rank import effective_rank
from must_mm.models.must import MUST
from must_mm.quickstart.target import CLASS_NAMES
from must_mm.quickstart.tiny_clip import NAME, train_tiny_clip
from must_mm.utils.paths import config_path

from .settings import CONFIGS, setting_config
from .tasks import (
    CLASSES,
    NO_CLASS,
    TASKS,
    Members,
    members,
    read_part,
    write_folder,
)
from .views import render_views

LOST_BELOW = 0.1  # of a class's share
JUDGED = ('val', 'test')


@dataclass(frozen=True)
class Job:
    """A run.

    Attributes:
        task: Name of the task.
        setting: Name of the setting.
        start: Seed of the start model.
        draw: Seed of views, masks and order, and of which images there are.
    """

    task: str
    setting: str
    start: int
    draw: int

    @property
    def name(self) -> str:
        """For files."""
        return '-'.join(map(str, vars(self).values()))


def start_model(root: Path, seed: int) -> Path:
    """Train the quickstart's start model of a seed, once."""
    folder = root / f'start{seed}'
    if not (folder / f'{NAME}.pt').is_file():
        train_tiny_clip(folder, seed)
    return folder


def training_set(
    root: Path, job: Job, mnist: Path | None, seed: int
) -> tuple[dict, Members]:
    """Return the config of the rendered views, and whose they are."""
    task = TASKS[job.task]
    cfg = Config.fromfile(config_path(CONFIGS['published']))
    init_default_scope(cfg.default_scope)
    epochs = max(
        one.epochs for one in TASKS.values() if one.folder == task.folder
    )

    def rendered(name: str, draw: int) -> str:
        folder = write_folder(root, name, mnist)
        path = root / 'views' / f'{name}_{draw}.npy'
        return str(render_views(cfg, folder, path, draw, epochs))

    labels = read_part(write_folder(root, task.folder, mnist), 'train')[1]
    chosen = members(task, labels, job.start, job.draw)
    parts = [(rendered(task.folder, seed), chosen.train.tolist())]
    classes = chosen.labels.tolist()
    if task.strangers:
        count = len(read_part(write_folder(root, 'letters', None), 'train')[1])
        parts.append((rendered('letters', 0), list(range(count))))
        classes += [NO_CLASS] * count
    dataset = dict(
        type='RenderedViews',
        parts=parts,
        labels=classes,
        classes=list(CLASS_NAMES),
        _delete_=True,
    )
    return dataset, chosen


def build_config(
    root: Path, job: Job, mnist: Path | None, seed: int | None = None
) -> tuple:
    """Build the config of a run; see :func:`training_set`.

    Args:
        root: See :func:`run`.
        job: The run.
        mnist: See :func:`write_folder`.
        seed: Of views, masks and order, instead of the draw.
    """
    seed = job.draw if seed is None else seed
    task, start = TASKS[job.task], start_model(root, job.start)
    dataset, chosen = training_set(root, job, mnist, seed)
    cfg = setting_config(job.setting, chosen.shares(), task.epochs)
    init_default_scope(cfg.default_scope)
    cfg.merge_from_dict(
        {
            'model.start.model': f'{start}/{NAME}.json',
            'model.start.pretrained': f'{start}/{NAME}.pt',
            'model.start.cache_dir': str(start),
            'train_dataloader.dataset': dataset,
            'train_dataloader.num_workers': 0,
            'randomness.seed': seed,
            'default_hooks.checkpoint': None,
            'work_dir': str(root / 'runs'),
            'experiment_name': f'{job.name}-{seed}',
            'log_level': 'ERROR',
        }
    )
    # judged here, at the start and at the end
    for key in ('val', 'test'):
        for part in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{key}_{part}'] = None
    cfg.custom_hooks = [
        hook
        for hook in cfg.custom_hooks
        if hook.type not in ('ValidateStartHook', 'ClassCheckHook')
    ]
    return cfg, chosen


def images_of(
    root: Path, task: str, chosen: Members
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Images and classes of each part, those to train on first."""
    folder = root / TASKS[task].folder
    pixels = read_part(folder, 'train')[0][chosen.train]
    return dict(
        train=(pixels, chosen.labels),
        **{part: read_part(folder, part) for part in JUDGED},
    )


def quiet_runner(cfg: Config) -> tuple[Runner, CollapseHook]:
    """Build a runner that warns of nothing, until logging is enabled again.

    Returns:
        The runner, and its watch on collapse, which does not stop it: the run
        is to be judged, too.
    """
    logging.disable(logging.WARNING)
    runner = Runner.from_cfg(cfg)
    watch = next(h for h in runner.hooks if isinstance(h, CollapseHook))
    watch.stop = False
    return runner, watch


def lasting_levels(hub: MessageHub, watch: CollapseHook) -> dict[str, float]:
    """The highest level that each signal of collapse has kept.

    Args:
        hub: Where the run has noted its signals.
        watch: The hook, for as many looks as it takes to be believed.
    """
    found = {}
    for name in watch.limits:
        values = hub.get_scalar(f'train/{name}').data[0]
        rows = np.lib.stride_tricks.sliding_window_view(values, watch.patience)
        found[name] = round(float(rows.min(axis=1).max()), 4)
    return found


class Predicted(NamedTuple):
    """What a classifier makes of N images.

    Attributes:
        logits: (N, K).
        feats: Global features of unit length, (N, E).
        mixed: Logits of blends of two images, (M, K); see :func:`mix`.
        mixed_labels: What is predicted for the larger part of each, (M,).
    """

    logits: torch.Tensor
    feats: torch.Tensor
    mixed: torch.Tensor
    mixed_labels: torch.Tensor

    @property
    def labels(self) -> torch.Tensor:
        """Predicted classes, (N,)."""
        return self.logits.argmax(dim=1)


@torch.no_grad()
def predictions(model: MUST, who: str, images: torch.Tensor) -> Predicted:
    """Show (N, 3, H, W) images to the student or the teacher."""
    configured, model.predict_with = model.predict_with, who
    model.eval()
    classifier = model.teacher if who == 'teacher' else model
    order = torch.randperm(
        len(images), generator=torch.Generator().manual_seed(0)
    )
    rows = []
    for part in images[order].split(256):
        batch = model.data_preprocessor(dict(inputs=part))['inputs']
        seen = classifier.extract_feat(batch)
        logits = classifier.head(seen).float()
        labels = logits.argmax(dim=1)
        one, other = mixed_pairs(labels, torch.Generator().manual_seed(0))
        blends = classifier.extract_feat(mix(batch[one], batch[other]))
        rows.append(
            (
                logits,
                model.head.joint_feature(seen),
                classifier.head(blends).float(),
                labels[one],
            )
        )
    model.predict_with = configured
    logits, feats, *mixed = map(torch.cat, zip(*rows, strict=True))
    back = order.argsort()
    return Predicted(logits[back], feats[back], *mixed)


def judge(found: torch.Tensor, truth: torch.Tensor, judged: tuple) -> dict:
    """Accuracy in per cent, and how many classes are as good as lost."""
    kept = torch.isin(truth, torch.tensor(judged))
    found, truth = found[kept], truth[kept]
    lost = sum(
        int((found == one).sum()) < LOST_BELOW * int((truth == one).sum())
        for one in judged
    )
    right = (found == truth).double().mean()
    return dict(accuracy=round(100 * float(right), 2), lost=lost)


def run(
    root: Path, job: Job, mnist: Path | None, seed: int | None = None
) -> dict:
    """Train once and judge start, student and teacher, validation and test.

    Args:
        root: Data folder: starts, images, views.
        job: The run.
        mnist: See :func:`write_folder`.
        seed: See :func:`build_config`.
    """
    begin = time.monotonic()
    cfg, chosen = build_config(root, job, mnist, seed)
    runner, watch = quiet_runner(cfg)
    model = runner.model
    model.init_weights()
    parts = images_of(root, job.task, chosen)

    def seen(who: str, *names: str) -> dict[str, Predicted]:
        return {
            part: predictions(model, who, parts[part][0]) for part in names
        }

    start = seen('student', *parts)
    runner.train()
    logging.disable(logging.NOTSET)
    student, teacher = seen('student', *parts), seen('teacher', *JUDGED)
    truth = {part: labels for part, (_, labels) in parts.items()}
    keep_predictions(predictions_of(root, job, seed), truth, start, student)
    end = student['train']
    shares = torch.bincount(end.labels, minlength=CLASSES) / len(end.labels)
    changed = (end.labels != start['train'].labels).double().mean()
    confidence = end.logits.softmax(dim=1).max(dim=1).values.mean()
    return dict(
        vars(job),
        judged={
            who: {
                part: judge(found[part].labels, truth[part], chosen.judged)
                for part in JUDGED
            }
            for who, found in (
                ('start', start),
                ('student', student),
                ('teacher', teacher),
            )
        },
        signals=dict(
            largest_share=round(float(shares.max()), 4),
            rank=round(float(effective_rank(end.feats)), 2),
            changed=round(float(changed), 4),
            confidence=round(float(confidence), 4),
        ),
        watched=lasting_levels(runner.message_hub, watch),
        seconds=round(time.monotonic() - begin, 1),
    )


def predictions_of(root: Path, job: Job, seed: int | None = None) -> Path:
    """File of what a run's start and student say of all images."""
    other = '' if seed in (None, job.draw) else f'-seed{seed}'
    return root / 'predictions' / f'{job.name}{other}.pt'


def keep_predictions(
    path: Path,
    truth: dict[str, torch.Tensor],
    start: dict[str, Predicted],
    student: dict[str, Predicted],
) -> None:
    """Write the logits, features and blends of each part, with its labels."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def small(seen: Predicted) -> dict[str, torch.Tensor]:
        return {
            name: value.half() if value.is_floating_point() else value.byte()
            for name, value in seen._asdict().items()
        }

    kept = {
        part: dict(
            labels=labels,
            start=small(start[part]),
            student=small(student[part]),
        )
        for part, labels in truth.items()
    }
    torch.save(kept, path)
