"""Photos that come later, classified by a result."""

import csv
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.registry import init_default_scope

from must_mm_cli.options import PREDICTED, check_folder, check_out

from ..weights.publish import load_published
from .corrections import exported
from .cost import this_machine
from .lists import write_text
from .plan import look_at_folder
from .predict import COLUMNS, look
from .progress import silence
from .settings import BATCH, workers


class Found(NamedTuple):
    """Path of an image below its folder, its class, and how sure that is."""

    path: str
    label: str
    confidence: float


def classify_more(
    images: str | Path, result: str | Path, out: str | Path = PREDICTED
) -> list[Found]:
    """Classify the images of a folder with the classifier of a result.

    Nothing is trained or fetched.

    Args:
        images: Folder of images, at any depth.
        result: Folder of the result.
        out: New folder for ``predictions.csv``.

    Raises:
        FileNotFoundError: If a folder is missing.
        OSError: If ``out`` cannot be written to.
        ValueError: If there is no result, or no image can be read.
    """
    check_folder(str(images), 'IMAGES')
    folder, result, out = (
        Path(path).expanduser().resolve() for path in (images, result, out)
    )
    weights = exported(result)
    check_out(out)
    init_default_scope('mmpretrain')
    there = look_at_folder(folder, out, this_machine().cores, needed=1)
    found = _classify(weights, folder, there.names)
    for name, why in there.skipped.items():
        print(f'skipped {name}: {why}')
    for note in there.notes:
        print(f'note: {note}')
    with (out / 'predictions.csv').open(
        'w', encoding='utf-8', newline=''
    ) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS[: len(Found._fields)])
        writer.writerows((p, name, f'{sure:.4f}') for p, name, sure in found)
    return found


def _classify(weights: Path, folder: Path, names: list[str]) -> list[Found]:
    described = weights.with_suffix('.py')
    with silence():
        model = load_published(weights, described)
    cfg = Config.fromfile(described)
    cfg.classes = model._dataset_meta['classes']
    # loaded like the images of a run, whatever their format
    first = dict(type='LoadImage')
    pipeline = [first, *cfg.test_dataloader.dataset.pipeline[1:]]
    cfg.test_dataloader = dict(
        batch_size=BATCH,
        num_workers=workers(this_machine()),
        collate_fn=dict(type='default_collate'),
        dataset=dict(pipeline=pipeline),
    )
    with tempfile.TemporaryDirectory() as kept:
        listed = Path(kept) / 'images.txt'
        write_text(listed, '\n'.join(names) + '\n')
        seen = look(model, cfg, folder, listed, 'image', sys.stdout, mixed=0)
    top = seen.probabilities.max(dim=1)
    rows = zip(names, top.indices, top.values, seen.there, strict=True)
    # one that went meanwhile has no class
    return [
        Found(n, cfg.classes[k], sure.item())
        for n, k, sure, here in rows
        if here
    ]


def counted(found: list[Found], out: Path) -> str:
    """How many images there are of each class, and where it is written."""
    counts = Counter(one.label for one in found).most_common()
    lines = [f'{count:7} {name}' for name, count in counts]
    return '\n'.join([*lines, str(out / 'predictions.csv')])
