"""Which score finds images of none of the classes, as the start sees them.

tools/benchmark.py outliers ROOT --photos FOLDER. ROOT is that of the accuracy
benchmark, whose start models are used, or trained: digits among which are
letters, or photographs. Of the photographs each class is left out in turn;
a CNN sees them. Labels only judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from PIL import Image

from must_mm.adapt.predict import logits_and_features
from must_mm.evaluation.outliers import (
    auroc,
    energy,
    neighbour_distance,
    prototype_distance,
    text_distance,
)
from must_mm.models.must import MUST

from . import text
from .photo_experiment import experiment_config, start_file

BATCH = 64
AMONG = 300  # photographs among the digits


def scores(
    logits: torch.Tensor, features: torch.Tensor, classifier: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Scores by name, (N,) each, from (N, K), (N, D) and (K, D)."""
    probs = logits.softmax(dim=1)
    return {
        'distance of neighbours': neighbour_distance(features),
        "distance of the class's prototype": prototype_distance(
            features, probs
        ),
        'one minus the confidence': 1 - probs.max(dim=1).values,
        "cosine of the class's weights": text_distance(features, classifier),
        'energy': energy(logits),
    }


def of_strangers(seen: tuple, strange: torch.Tensor) -> dict[str, float]:
    """Area under the ROC curve of each score, in per cent."""
    return {
        name: 100 * auroc(values, strange)
        for name, values in scores(*seen).items()
    }


def left_out(seen: tuple, labels: torch.Tensor) -> dict[str, float]:
    """The same, with each class left out in turn; mean over classes."""
    logits, features, classifier = seen
    rows = []
    for k in range(len(classifier)):
        others = [i for i in range(len(classifier)) if i != k]
        known = logits[:, others], features, classifier[others]
        rows.append(of_strangers(known, labels == k))
    return {name: mean(row[name] for row in rows) for name in rows[0]}


@torch.no_grad()
def look(model: MUST, batches: Iterator[torch.Tensor]) -> tuple:
    """Logits, features, and the classifier's weights, a row a class."""
    model.eval()
    rows = [
        logits_and_features(
            model, model.data_preprocessor(dict(inputs=batch))['inputs']
        )
        for batch in batches
    ]
    linear = getattr(model.head, 'fc', None)
    weights = model.head.classifier.T if linear is None else linear.weight
    return *map(torch.cat, zip(*rows, strict=True)), weights.detach()


def small(paths: list[Path], side: int) -> torch.Tensor:
    """Photographs as small squares, (N, 3, side, side), uint8, BGR."""
    found = [
        np.asarray(Image.open(path).convert('RGB').resize((side, side)))
        for path in paths
    ]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).flip(1)


def on_digits(root: Path, seed: int, photos: Path | None) -> Iterator[tuple]:
    """What one start finds: a name, and the areas."""
    from .accuracy.tasks import SIDE, read_part, write_folder
    from .accuracy.training import Job, build_config

    cfg, _ = build_config(root, Job('strangers', 'balanced', seed, 0), None)
    model = MODELS.build(cfg.model)
    model.init_weights()
    digits = read_part(write_folder(root, 'digits', None), 'train')[0]
    strangers = {
        'letters': read_part(write_folder(root, 'letters', None), 'train')[0]
    }
    if photos:
        paths = sorted(photos.glob('*/*/*.jpg'))
        step = max(1, len(paths) // AMONG)
        strangers['clothes'] = small(paths[::step][:AMONG], SIDE)
    for name, images in strangers.items():
        strange = torch.arange(len(digits) + len(images)) >= len(digits)
        seen = look(model, iter(torch.cat([digits, images]).split(BATCH)))
        yield f'digits among {name}', of_strangers(seen, strange)


def on_photos(photos: Path, folder: Path) -> tuple[str, dict[str, float]]:
    """What the CNN finds on validation and test part."""
    cfg = experiment_config(photos, start_file(folder), folder, 'balanced', 0)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    labels = []

    def batches() -> Iterator[torch.Tensor]:
        for batch in Runner.build_dataloader(cfg.val_dataloader):
            labels.extend(int(s.gt_label) for s in batch['data_samples'])
            yield torch.stack(list(batch['inputs']))

    seen = look(model, batches())
    return 'clothes, a class left out', left_out(seen, torch.tensor(labels))


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Format as a Markdown table: a line a score, means over starts."""
    titles = [f'{name} ({len(rows)})' for name, rows in found.items()]
    return text.table(
        ['score', *titles],
        [
            [score]
            + [
                f'{mean(row[score] for row in rows):.1f}'
                for rows in found.values()
            ]
            for score in next(iter(found.values()))[0]
        ],
    )


def main(argv: list[str]) -> None:
    """Command line of ``tools/benchmark.py outliers``."""
    parser = text.command_line('outliers', __doc__)
    add = parser.add_argument
    add('root', type=Path, help='folder of the accuracy benchmark')
    add('--photos', type=Path, help='folder with train, validation, test')
    add('--photos-dir', type=Path, default='work_dirs/photos')
    add('--starts', type=int, nargs='+', default=[0, 1, 2, 3, 4])
    args = parser.parse_args(argv)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in args.starts:
        for name, areas in on_digits(args.root, seed, args.photos):
            found.setdefault(name, []).append(areas)
    if args.photos:
        name, areas = on_photos(args.photos, args.photos_dir)
        found[name] = [areas]
    print('Area under the ROC curve in per cent, mean (starts); 50 is chance:')
    print(table(found))
