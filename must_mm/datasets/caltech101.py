"""A split of Caltech-101, which comes without one."""

import random
from pathlib import Path

from .names import class_table

TRAIN_PER_CLASS = 30
SEED = 0


def make_split(root: str | Path) -> dict[str, int]:
    """Write ``meta/train.txt`` and ``meta/test.txt`` for MMPretrain.

    30 images of each class, drawn with seed 0 from the sorted names, train;
    the rest tests. A class with no more than 30 images is an error.

    Args:
        root: Folder with ``101_ObjectCategories``.

    Returns:
        Number of images in ``train`` and ``test``.

    Raises:
        FileNotFoundError: If a class's folder is missing.
        ValueError: If a class has too few images.
    """
    rng = random.Random(SEED)
    lines = dict(train=[], test=[])
    for label, name in enumerate(class_table('caltech101')):
        folder = Path(root, '101_ObjectCategories', name)
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder} is missing')
        images = sorted(path.name for path in folder.glob('*.jpg'))
        if len(images) <= TRAIN_PER_CLASS:
            raise ValueError(
                f'{folder} has {len(images)} images, more than '
                f'{TRAIN_PER_CLASS} are needed'
            )
        train = set(rng.sample(images, TRAIN_PER_CLASS))
        for image in images:
            split = 'train' if image in train else 'test'
            lines[split].append(f'{name}/{image} {label}\n')
    Path(root, 'meta').mkdir(exist_ok=True)
    for split, listed in lines.items():
        Path(root, 'meta', f'{split}.txt').write_text(''.join(listed))
    return {split: len(listed) for split, listed in lines.items()}
