"""A folder of photographs for a benchmark, where there is none."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def write_photographs(
    folder: Path, width: int, height: int, count: int
) -> None:
    """Write JPEGs of one size, random parts of two photographs.

    scikit-learn brings both, 640 x 427 pixels. Parts are as large as fits,
    down to 0.6 of that, every other one mirrored, resized to the size asked
    for: with more pixels than they have, files are smoother than a
    camera's, and smaller.

    Args:
        folder: Where to; must be empty or missing.
        width: In pixels.
        height: In pixels.
        count: Number of files.

    Raises:
        FileExistsError: If there is something in the folder.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f'--make: {folder} is not empty')
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for number in range(count):
        photo = photos[number % len(photos)]
        if rng.random() < 0.5:
            photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        most = min(photo.width / width, photo.height / height)
        scale = most * rng.uniform(0.6, 1)
        part = int(scale * width), int(scale * height)
        left, top = (
            int(rng.integers(0, whole - side + 1))
            for whole, side in zip(photo.size, part, strict=True)
        )
        box = (left, top, left + part[0], top + part[1])
        photo = photo.resize((width, height), Image.LANCZOS, box)
        photo.save(folder / f'{number:04}.jpg', quality=90)
