"""What a classifier says of images, and what that amounts to."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from ..datasets.skip_bad_images import MARK
from .progress import Progress
from .result import Evaluation, Prediction

RARE, FREQUENT = 0.1, 3.0  # times the fair share of a class
COLUMNS = ('path', 'class', 'confidence', 'zero_shot_class', 'changed')


@torch.no_grad()
def probabilities(
    model: nn.Module,
    cfg: Config,
    folder: Path,
    listed: Path,
    title: str,
    screen: TextIO,
    labelled: bool = False,
) -> torch.Tensor:
    """Classify the images of a list.

    Args:
        model: A classifier of MMPretrain.
        cfg: Config of the run: how images are prepared and loaded.
        folder: Where the images lie.
        listed: Text file with their paths below it.
        title: Of the progress.
        screen: Where to show it.
        labelled: Whether the list has labels, too.

    Returns:
        (N, K), in the order of the list, on the CPU; NaN where an image could
        not be read.

    Raises:
        TooManyBadImages: If that is so for more than 100 images in a row.
    """
    loader = cfg.test_dataloader.to_dict()
    loader['dataset'] = dict(
        # an image may have gone since the list was made
        type='SkipBadImages',
        dataset='CustomDataset',
        data_root=str(folder),
        ann_file=str(listed),
        with_label=labelled,
        metainfo=dict(classes=cfg.classes),
        pipeline=loader['dataset']['pipeline'],
    )
    loader = Runner.build_dataloader(loader)
    model = model.to(get_device()).eval()
    found, done = [], 0
    with Progress(title, len(loader.dataset), stream=screen) as progress:
        for batch in loader:
            scores = [
                # of a stand-in, where the image could not be read
                torch.full_like(sample.pred_score, torch.nan)
                if sample.get(MARK)
                else sample.pred_score
                for sample in model.test_step(batch)
            ]
            found.append(torch.stack(scores).cpu())
            done += len(scores)
            progress(done)
    return torch.cat(found)


def predictions(
    folder: Path,
    names: Sequence[str],
    before: torch.Tensor,
    after: torch.Tensor,
) -> list[Prediction]:
    """Put the probabilities of two classifiers, (N, K), beside each other."""
    top_before, top_after = before.max(dim=1), after.topk(2, dim=1)
    return [
        Prediction(
            path=folder / name,
            name=name,
            zero_shot=top_before.indices[i].item(),
            zero_shot_confidence=top_before.values[i].item(),
            label=top_after.indices[i, 0].item(),
            confidence=top_after.values[i, 0].item(),
            runner_up=top_after.indices[i, 1].item(),
            runner_up_confidence=top_after.values[i, 1].item(),
        )
        for i, name in enumerate(names)
    ]


def write_csv(
    found: Sequence[Prediction], classes: Sequence[str], path: Path
) -> None:
    """Write ``predictions.csv``.

    Paths are below the folder of images; ``confidence`` lies in [0, 1];
    ``changed`` is ``yes`` or ``no``.
    """
    with path.open('w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(
            (
                p.name,
                classes[p.label],
                f'{p.confidence:.4f}',
                classes[p.zero_shot],
                'yes' if p.changed else 'no',
            )
            for p in found
        )


def confusion(labels: Sequence[int], scores: torch.Tensor) -> list[list[int]]:
    """Count ``[true][predicted]`` from scores (N, K)."""
    count = scores.shape[1]
    cells = torch.tensor(labels) * count + scores.argmax(dim=1)
    counts = torch.bincount(cells, minlength=count * count)
    return counts.reshape(count, count).tolist()


def evaluation(
    labels: Sequence[int], before: torch.Tensor, after: torch.Tensor
) -> Evaluation:
    """Compare two classifiers on labelled images, scores (N, K)."""
    return Evaluation(confusion(labels, before), confusion(labels, after))


def skew(
    labels: Sequence[int],
    classes: Sequence[str],
    prior: Sequence[float] | None,
) -> list[str]:
    """Describe classes that are predicted much too rarely or often.

    That is less than a tenth or more than three times the share that the
    prior gives them (uniform: 1 / K), where this share is at least five
    images.

    Returns:
        Phrases such as ``'cat: 900 of 1000 images, expected 333'``.
    """
    total = len(labels)
    prior = prior or [1 / len(classes)] * len(classes)
    found = []
    for index, (name, share) in enumerate(zip(classes, prior, strict=True)):
        count, fair = sum(label == index for label in labels), share * total
        # of two classes, none can have three times its share
        frequent = min(FREQUENT * fair, total - RARE * (total - fair))
        if fair >= 5 and not RARE * fair <= count <= frequent:
            found.append(
                f'{name}: {count} of {total} images, expected {fair:.0f}'
            )
    return found
