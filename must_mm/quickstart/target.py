"""The quickstart's target: scikit-learn's handwritten digits as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

CLASS_NAMES = (
    'zero', 'one', 'two', 'three', 'four',
    'five', 'six', 'seven', 'eight', 'nine',
)  # fmt: skip

#: Brightest value a pixel of the 8x8 originals can take.
LEVELS = 16

VAL_SIZE = 200
TEST_SIZE = 400


def upscale(images: np.ndarray, image_size: int) -> np.ndarray:
    """Enlarge 8x8 grey images to the size the model takes.

    Args:
        images: Grey values in [0, 16], shape (N, 8, 8).
        image_size: Side of the result in pixels.

    Returns:
        uint8 grey values in [0, 255], shape (N, image_size, image_size).
    """
    grey = np.rint(np.asarray(images) * (255 / LEVELS)).astype(np.uint8)
    out = np.empty((len(grey), image_size, image_size), dtype=np.uint8)
    for index, image in enumerate(grey):
        out[index] = Image.fromarray(image).resize(
            (image_size, image_size), Image.Resampling.BICUBIC
        )
    return out


def write_digits(
    root: str | Path, image_size: int, seed: int = 0
) -> dict[str, int]:
    """Write the 1,797 digits as RGB PNG files, split by class-wise shares.

    ::

        root/train/00000.png            flat, the name tells no label
        root/train_labels.txt           "00000.png 7", for logging only
        root/val/seven/00000.png        200, for choosing settings
        root/val_labels.txt             "seven/00000.png 7"
        root/test/seven/00000.png       400, held out
        root/test_labels.txt

    The label files follow the order of ``CLASS_NAMES``. Reading ``val`` and
    ``test`` through them avoids the alphabetical numbering that a
    folder-per-class reader would give ("eight" first).

    Args:
        root: Folder to write to; made where missing.
        image_size: Side of the written images in pixels.
        seed: Seed of the split. Runs that are to be compared keep the
            default, so that the held-out images stay the same.

    Returns:
        Number of images in ``train``, ``val`` and ``test``.
    """
    root = Path(root)
    digits = load_digits()
    images, labels = upscale(digits.images, image_size), digits.target

    rest, test = train_test_split(
        np.arange(len(labels)),
        test_size=TEST_SIZE,
        stratify=labels,
        random_state=seed,
    )
    train, val = train_test_split(
        rest, test_size=VAL_SIZE, stratify=labels[rest], random_state=seed
    )

    splits = {'train': train, 'val': val, 'test': test}
    for split, members in splits.items():
        lines = []
        for number, member in enumerate(members):
            label = int(labels[member])
            name = f'{number:05d}.png'
            if split != 'train':
                name = f'{CLASS_NAMES[label]}/{name}'
            path = root / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[member]).convert('RGB').save(path)
            lines.append(f'{name} {label}\n')
        (root / f'{split}_labels.txt').write_text(''.join(lines))
    return {split: len(members) for split, members in splits.items()}
