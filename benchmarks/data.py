"""Images per second of one core: decoding, both views and the mask.

The published views as torchvision and timm make them, as MMPretrain's
transforms make them, and as the config's pipeline does, on the same files, in
turns.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

import must_mm
from benchmarks.machine import processor, versions
from benchmarks.photographs import write_photographs
from benchmarks.plain_views import PlainViews, TimmRandAugment
from must_mm.datasets.seeding import EpochIndex
from must_mm.runs.arguments import positive
from must_mm.transforms.loading import FORMATS, UnreadableImage, read_image
from must_mm.utils.paths import config_path

SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')
PACKAGES = (
    'torch',
    'torchvision',
    'timm',
    'mmpretrain',
    'onedl-mmpretrain',
    'opencv-python',
    'opencv-python-headless',
    'pillow',
    'numpy',
)
#: Images that one pipeline makes before it is the next one's turn: few, so
#: that all meet the same load, but more than one, as caches are warm in use.
IN_TURN = 8
MASK = dict(
    type='MUSTMaskGenerator',
    input_size=224,
    mask_patch_size=32,
    model_patch_size=16,
    mask_ratio=0.3,
)
RAND_AUGMENT = dict(
    type='RandAugment',
    policies='timm_increasing',
    num_policies=2,
    total_level=10,
    magnitude_level=9,
    magnitude_std=0.5,
    hparams=dict(pad_val=[104, 117, 123], interpolation='bicubic'),
)


class SeedAll:
    """Seed as ``torch.manual_seed`` does, accelerators and all."""

    def __call__(self, results: dict) -> dict:
        """Seed by the sample's index."""
        np.random.seed(results['sample_idx'])
        torch.manual_seed(results['sample_idx'])
        return results


def mmpretrain_pipeline(
    decode: str = 'pillow',
    resize: str = 'pillow',
    crops: list[list[dict]] | None = None,
    augment: dict = RAND_AUGMENT,
    views: str = 'MultiView',
    seed: dict | SeedAll | None = None,
) -> list:
    """The published views in MMPretrain's transforms.

    Args:
        decode: ``'pillow'`` or ``'cv2'``.
        resize: ``'pillow'``, which antialiases, or ``'cv2'``.
        crops: What to crop with instead, for each view.
        augment: Config of the augmentation of the strong view.
        views: The transform that makes the views.
        seed: What seeds the sample.
    """
    how = dict(backend=resize, interpolation='bicubic')
    weak, strong = crops or [
        [
            dict(type='ResizeEdge', scale=224, **how),
            dict(type='RandomCrop', crop_size=224),
        ],
        [
            dict(
                type='RandomResizedCrop',
                scale=224,
                crop_ratio_range=(0.3, 1.0),
                **how,
            ),
            dict(type='RandomFlip', prob=0.5),
        ],
    ]
    number = dict(num_views=[1, 1]) if views == 'MultiView' else {}
    return [
        dict(type='LoadImageFromFile', imdecode_backend=decode),
        seed or SeedAll(),
        dict(type=views, **number, transforms=[weak, [*strong, augment]]),
        MASK,
        dict(type='PackInputs'),
    ]


def levers(ours: list[dict]) -> dict[str, list]:
    """Pipelines with one change each.

    Args:
        ours: The config's pipeline.
    """
    crops = [
        [dict(type='EdgeCrop', size=224)],
        [dict(type='AreaCrop', size=224, flip=0.5)],
    ]
    with_one = mmpretrain_pipeline
    whole = [{k: v for k, v in step.items() if k != 'lazy'} for step in ours]
    with_timm = copy.deepcopy(ours)
    (views,) = (step for step in with_timm if step['type'] == 'CropViews')
    views['transforms'][1][-1] = TimmRandAugment()
    return {
        'MMPretrain, Pillow, and: decoding by OpenCV': with_one('cv2'),
        '... and: crops by torch': with_one(crops=crops),
        '... and: PublishedRandAugment': with_one(
            augment=dict(type='PublishedRandAugment')
        ),
        '... and: CropViews instead of MultiView': with_one(views='CropViews'),
        '... and: SeedSample': with_one(seed=dict(type='SeedSample')),
        'ours, but decoded in full': whole,
        "ours, but timm's RandAugment": with_timm,
    }


def find_images(folder: Path, count: int) -> list[str]:
    """Take images from a folder and those below it, evenly.

    Raises:
        ValueError: If there are none, or one cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(f'{folder} is no folder')
    files = sorted(
        path for path in folder.rglob('*') if path.suffix.lower() in SUFFIXES
    )
    if not files:
        raise ValueError(
            f'{folder} has no images ({", ".join(FORMATS)}); '
            '--make 400x533 writes some'
        )
    files = [str(path) for path in files[:: max(1, len(files) // count)]]
    for path in files[:count]:  # also brings it into the disk's cache
        try:
            read_image(path)
        except UnreadableImage as error:
            raise ValueError(str(error)) from error
    return files[:count]


def runner(pipeline: list) -> Callable[[str, int, int], object]:
    """A function of a file, its index and the round."""
    steps = Compose(pipeline)
    return lambda path, index, turn: steps(
        dict(img_path=path, sample_idx=EpochIndex(index, turn, 0))
    )


def measure(
    candidates: dict[str, Callable], files: list[str], rounds: int
) -> dict[str, np.ndarray]:
    """Time the candidates in turns, a few images each.

    Returns:
        For each candidate the seconds of processor time of every round.
    """
    spent = {name: np.zeros(rounds + 1) for name in candidates}
    numbered = list(enumerate(files))
    for turn in range(rounds + 1):
        for first in range(0, len(files), IN_TURN):
            for name, make in candidates.items():
                start = time.process_time()
                for index, path in numbered[first : first + IN_TURN]:
                    make(path, index, turn)
                spent[name][turn] += time.process_time() - start
    # the first round warms up
    return {name: seconds[1:] for name, seconds in spent.items()}


def table(spent: dict[str, np.ndarray], images: int) -> str:
    """Write the measurements as a table; ratios are to the first row."""
    first = next(iter(spent.values()))
    lines = [
        '| | ms per image | images/s per core | ratio | lowest, highest |',
        '|---|---|---|---|---|',
    ]
    for name, seconds in spent.items():
        typical = np.median(seconds) / images
        ratios = first / seconds
        lines.append(
            f'| {name} | {1000 * typical:.2f} | {1 / typical:.0f} | '
            f'{np.median(ratios):.2f} | {ratios.min():.2f}, '
            f'{ratios.max():.2f} |'
        )
    return '\n'.join(lines)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in text.split('x'))
        if min(width, height) < 1:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'{text} is no WIDTHxHEIGHT in pixels'
        ) from None
    return width, height


def main(argv: list[str] | None = None) -> None:
    """Command line of ``tools/benchmark.py data``."""
    parser = argparse.ArgumentParser(
        prog='benchmark.py data', description=__doc__.split('\n')[0]
    )
    parser.add_argument('folder', type=Path, help='images to read')
    parser.add_argument(
        '--config',
        default=str(config_path('_base_/must_views.py')),
        help='config whose training pipeline is ours',
    )
    parser.add_argument(
        '--count', type=positive, default=32, help='number of images'
    )
    parser.add_argument('--rounds', type=positive, default=7)
    parser.add_argument(
        '--levers', action='store_true', help='also each change alone'
    )
    parser.add_argument(
        '--make',
        type=_size,
        metavar='WxH',
        help='first write so many JPEGs of this size into the empty folder',
    )
    args = parser.parse_args(argv)
    init_default_scope('mmpretrain')
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        if args.make:
            write_photographs(args.folder, *args.make, args.count)
        files = find_images(args.folder, args.count)
        config = Config.fromfile(args.config)
        ours = config.to_dict()['train_dataloader']['dataset']['pipeline']
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f'benchmark.py data: {error}')
    pipelines = {
        'MMPretrain, Pillow': mmpretrain_pipeline(),
        'MMPretrain, OpenCV, not antialiased': mmpretrain_pipeline(
            'cv2', 'cv2'
        ),
        f'ours, must_mm {must_mm.__version__}': ours,
    }
    if args.levers:
        pipelines |= levers(ours)
    plain, as_bytes = PlainViews(), PlainViews(normalise=False)
    candidates = {
        'torchvision and timm': lambda path, *_: plain(path),
        '... which leave normalising to the device': (
            lambda path, *_: as_bytes(path)
        ),
        **{name: runner(steps) for name, steps in pipelines.items()},
    }
    sizes = {read_image(path).shape[:2] for path in files}
    height, width = sorted(sizes)[len(sizes) // 2]
    kilobytes = np.mean([Path(path).stat().st_size for path in files]) / 1e3
    print(processor())
    print(versions(*PACKAGES))
    print(
        f'{len(files)} images, for example {width} x {height}, '
        f'{kilobytes:.0f} kB on average; {args.rounds} rounds, one thread'
    )
    print(table(measure(candidates, files, args.rounds), len(files)))
