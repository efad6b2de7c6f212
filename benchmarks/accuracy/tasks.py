"""The tasks: which images train, and which are judged.

All are digits, so that the quickstart's start models name them; each makes
another assumption of self-training false.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from must_mm.quickstart import render
from must_mm.quickstart.target import CLASS_NAMES, upscale, write_digits

SIDE = 32
CLASSES = len(CLASS_NAMES)
RAREST = 0.1  # images of the rarest class over those of the most frequent
LETTERS = 'ADEFGHJKMNPRUVWXY'  # no digit looks like one of them
STRANGERS = 300  # of 1,497: a fifth is of no class
NO_CLASS = -1


@dataclass(frozen=True)
class Task:
    """What a task trains on.

    Attributes:
        name: Name on the command line.
        folder: Folder of the images below the data folder.
        unbalanced: Whether classes are as rare as tenths of others.
        lacks_class: Whether one class has no image, in any part.
        strangers: Whether a fifth of the images is of no class.
        epochs: Passes over the images.
    """

    name: str
    folder: str = 'digits'
    unbalanced: bool = False
    lacks_class: bool = False
    strangers: bool = False
    epochs: int = 30


TASKS = {
    task.name: task
    for task in (
        Task('digits'),
        Task('unbalanced', unbalanced=True),
        Task('lacking', lacks_class=True),
        Task('strangers', strangers=True),
        Task('mnist-cut', 'mnist-cut', epochs=15),
        Task('mnist', 'mnist', epochs=15),
    )
}


@dataclass(frozen=True)
class Members:
    """Which images of a folder a run sees.

    Attributes:
        train: Numbers of the training images, (N,).
        labels: Their classes, (N,); for the log and the stated prior alone.
        judged: Classes that are judged.
    """

    train: torch.Tensor
    labels: torch.Tensor
    judged: tuple[int, ...]

    def shares(self) -> list[float]:
        """Return the share of each class among the training images."""
        counts = torch.bincount(self.labels, minlength=CLASSES).float()
        shares = (counts / counts.sum()).clamp(min=1e-3)
        return (shares / shares.sum()).tolist()


def members(
    task: Task, labels: torch.Tensor, start: int, draw: int
) -> Members:
    """Choose the images of a run; other ones for every start and draw.

    Args:
        task: The task.
        labels: Classes of the images of its folder, (N,).
        start: Seed of the start model.
        draw: Seed of the run.
    """
    numbers, judged = torch.arange(len(labels)), tuple(range(CLASSES))
    if task.unbalanced:
        order = np.random.default_rng(10 * start + draw).permutation(CLASSES)
        kept = []
        for rank, one in enumerate(order):
            of_class = (labels == one).nonzero()[:, 0]
            share = RAREST ** (rank / (CLASSES - 1))
            kept.append(of_class[: max(1, round(share * len(of_class)))])
        numbers = torch.cat(kept).sort().values
    if task.lacks_class:
        missing = (start + 3 * draw) % CLASSES
        numbers = (labels != missing).nonzero()[:, 0]
        judged = tuple(one for one in judged if one != missing)
    return Members(numbers, labels[numbers], judged)


# ------------------------------------------------------------------ folders


def write_folder(root: Path, name: str, mnist: Path | None) -> Path:
    """Write the images of a task as files, once.

    Args:
        root: Data folder.
        name: Folder of the task, or ``'letters'``.
        mnist: ``mnist.npz`` with ``{train,val,test}_{images,labels}``.

    Raises:
        FileNotFoundError: If the task needs MNIST and it is not given.
    """
    folder = root / name
    done = folder / 'written'
    if done.is_file():
        return folder
    if name == 'digits':
        write_digits(folder, SIDE)
    elif name == 'letters':
        _write_part(folder, 'train', letters(STRANGERS), [0] * STRANGERS)
    else:
        if mnist is None:
            raise FileNotFoundError(f'{name} needs --mnist FILE.npz')
        margin = slice(4, 24) if name == 'mnist-cut' else slice(None)
        arrays = np.load(mnist)
        for part in ('train', 'val', 'test'):
            images = arrays[f'{part}_images'][:, margin, margin]
            images = [_resized(image) for image in images]
            _write_part(folder, part, images, arrays[f'{part}_labels'])
    done.touch()
    return folder


def _resized(image: np.ndarray) -> np.ndarray:
    whole = Image.fromarray(image)
    return np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _write_part(folder: Path, part: str, images, labels) -> None:
    (folder / part).mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f'{number:05d}.png'
        Image.fromarray(image).convert('RGB').save(folder / part / name)
        lines.append(f'{name} {int(label)}\n')
    (folder / f'{part}_labels.txt').write_text(''.join(lines))


@lru_cache(maxsize=8)
def read_part(folder: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Read images (N, 3, H, W), uint8, BGR, and classes (N,) of one part."""
    lines = (folder / f'{part}_labels.txt').read_text().splitlines()
    names, labels = zip(*(line.rsplit(' ', 1) for line in lines), strict=True)
    images = [np.asarray(Image.open(folder / part / name)) for name in names]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).flip(1)
    return pixels.contiguous(), torch.tensor([int(one) for one in labels])


def letters(count: int, seed: int = 7) -> np.ndarray:
    """Letters, bent and inked as the start's digits, coarse as the target.

    Returns:
        Grey images, (count, SIDE, SIDE), uint8.
    """
    rng = np.random.default_rng(seed)
    drawn = render.draw_bitmaps(
        rng.integers(len(LETTERS), size=count), rng, LETTERS
    )
    coarse = F.interpolate(drawn, (8, 8), mode='area')[:, 0]
    return upscale((16 * coarse).round().clamp(0, 16).numpy(), SIDE)
