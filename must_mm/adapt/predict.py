"""What a classifier says of images, and what that amounts to."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner
from mmpretrain.models import ImageClassifier

from ..datasets.skip_bad_images import MARK
from ..evaluation.calibration import mix, mixed_pairs
from ..evaluation.duplicates import small_copies
from .progress import Progress
from .result import Evaluation, Prediction

COLUMNS = (
    'path',
    'class',
    'confidence',
    'zero_shot_class',
    'changed',
    'agreement',
    'strangeness',
    'note',
)
MIXED = 2000  # blends, enough for a temperature


class Seen(NamedTuple):
    """What one classifier makes of the N images of a list, on the CPU.

    Attributes:
        logits: (N, K); NaN where an image could not be read.
        features: What its last layer reads, (N, D).
        copies: Small copies of the images, (N, C), see
            :func:`small_copies`.
        mixed: Logits of blends of two images, (M, K).
        mixed_labels: What is predicted for the larger part of each, (M,).
    """

    logits: torch.Tensor
    features: torch.Tensor
    copies: torch.Tensor
    mixed: torch.Tensor
    mixed_labels: torch.Tensor

    @property
    def probabilities(self) -> torch.Tensor:
        """(N, K), as the classifier says them."""
        return self.logits.softmax(dim=1)

    @property
    def labels(self) -> torch.Tensor:
        """Predicted classes, (N,)."""
        return self.logits.argmax(dim=1)

    @property
    def there(self) -> torch.Tensor:
        """Which images could be read, (N,)."""
        return ~self.logits.isnan().any(dim=1)

    def only(self, chosen: torch.Tensor) -> 'Seen':
        """The same of some of the images, (N,) booleans."""
        return self._replace(
            logits=self.logits[chosen],
            features=self.features[chosen],
            copies=self.copies[chosen],
        )


@torch.no_grad()
def look(
    model: nn.Module,
    cfg: Config,
    folder: Path,
    listed: Path,
    title: str,
    screen: TextIO,
    labelled: bool = False,
    mixed: int = MIXED,
) -> Seen:
    """Show the images of a list to a classifier, once, in random order.

    In random order, so that images of other classes are at hand to be
    blended with; what is returned is in the order of the list.

    Args:
        model: A classifier of MMPretrain.
        cfg: Config of the run: how images are prepared and loaded.
        folder: Where the images lie.
        listed: Text file with their paths below it.
        title: Of the progress.
        screen: Where to show it.
        labelled: Whether the list has labels, too.
        mixed: About how many blends to look at.

    Raises:
        TooManyBadImages: If more than 100 images in a row cannot be read.
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
    loader['sampler'] = dict(type='DefaultSampler', shuffle=True, seed=0)
    loader = Runner.build_dataloader(loader)
    order = torch.tensor(list(loader.sampler))
    model = model.to(get_device()).eval()
    draws = torch.Generator().manual_seed(0)
    found, blends, done, count = [], [], 0, 0
    with Progress(title, len(order), stream=screen) as progress:
        for batch in loader:
            pixels = torch.stack(list(batch['inputs']))
            images = model.data_preprocessor(batch, False)['inputs']
            logits, features = logits_and_features(model, images)
            copies = small_copies(pixels).half()
            # of a stand-in, where the image could not be read
            gone = [bool(s.get(MARK)) for s in batch['data_samples']]
            kept = logits.float().cpu()
            kept[torch.tensor(gone)] = torch.nan
            found.append([kept, features.float().cpu(), copies])
            if count < mixed:
                labels = logits.argmax(dim=1).cpu()
                one, other = mixed_pairs(labels, draws)
                if len(one):
                    blend = mix(images[one], images[other])
                    said = logits_and_features(model, blend)[0]
                    blends.append([said.float().cpu(), labels[one]])
                    count += len(one)
            done += len(logits)
            progress(done)
    logits, features, copies = (
        torch.cat(parts)[order.argsort()] for parts in zip(*found, strict=True)
    )
    none = [logits[:0], logits[:0, 0].long()]
    blended = map(torch.cat, zip(none, *blends, strict=True))
    return Seen(logits, features, copies, *blended)


def logits_and_features(
    model: ImageClassifier, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, K), and what the last layer makes them of, (B, D)."""
    feats = model.extract_feat(images)
    features = model.head.pre_logits(feats)
    if not isinstance(features, torch.Tensor):  # of several tokens
        features = torch.stack(list(features)).mean(dim=0)
    return model.head(feats), features


def predictions(
    folder: Path,
    names: Sequence[str],
    before: torch.Tensor,
    after: torch.Tensor,
    agreement: torch.Tensor | None = None,
    strangeness: torch.Tensor | None = None,
    notes: Mapping[str, str] = {},
    labels: Mapping[str, int] = {},
) -> list[Prediction]:
    """Put the probabilities of two classifiers, (N, K), beside each other.

    Args:
        folder: Where the images lie.
        names: Their paths below it.
        before: Of the start.
        after: Of the result.
        agreement: Of the runs, (N,); all agree by default.
        strangeness: (N,); none is strange by default.
        notes: By name, what else is to be said of an image.
        labels: By name, classes that a person gave: they are what is said.
    """
    top_before = before.max(dim=1)
    sure = after.clone()
    for place, name in enumerate(names):
        if name in labels:
            sure[place] = 0
            sure[place, labels[name]] = 1
    top_after = sure.topk(2, dim=1)

    def of(values: torch.Tensor | None, place: int, otherwise: float) -> float:
        return otherwise if values is None else values[place].item()

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
            agreement=of(agreement, i, 1.0),
            strangeness=of(strangeness, i, 0.0),
            note=notes.get(name, ''),
        )
        for i, name in enumerate(names)
    ]


def write_csv(
    found: Sequence[Prediction], classes: Sequence[str], path: Path
) -> None:
    """Write ``predictions.csv``.

    Paths are below the folder of images; ``confidence``, ``agreement`` and
    ``strangeness`` lie in [0, 1]; ``changed`` is ``yes`` or ``no``; ``note``
    is ``rejected``, ``labelled``, ``none`` (of the classes), or nothing.
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
                f'{p.agreement:.2f}',
                f'{p.strangeness:.4f}',
                p.note,
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
