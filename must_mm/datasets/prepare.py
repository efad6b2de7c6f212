"""Checks that a data set lies where and as a recipe expects it."""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, TRANSFORMS

from . import caltech101
from .names import NAMES, class_table

DECODED = 8  # images a split


@dataclass(frozen=True)
class Layout:
    """What a data set's root holds.

    Attributes:
        type: Its class in MMPretrain's registry.
        source: Where to get it.
        counts: Number of images a split, in the order train, evaluation.
        needs: Paths below the root, each with where it comes from.
        named_paths: Splits whose image paths hold the class's name.
    """

    type: str
    source: str
    counts: dict[str, int]
    needs: dict[str, str]
    named_paths: tuple[str, ...] = ()

    @property
    def options(self) -> dict:
        """Arguments of the data set beside root and split."""
        # never fetched unasked
        return dict(download=False) if self.type.startswith('CIFAR') else {}

    @property
    def pipeline(self) -> list:
        """What decodes an image; CIFAR's are arrays."""
        if self.type.startswith('CIFAR'):
            return []
        return [
            TRANSFORMS.build(
                dict(type='LoadImageFromFile', imdecode_backend='pillow')
            )
        ]


LAYOUTS = dict(
    imagenet=Layout(
        'ImageNet',
        'https://image-net.org',
        dict(train=1281167, val=50000),
        {
            'train': 'ILSVRC2012_img_train.tar, one folder a class',
            'val': 'ILSVRC2012_img_val.tar, one folder a class; or flat, '
            'with meta/val.txt ("NAME.JPEG 65" a line)',
        },
        ('train',),
    ),
    sun397=Layout(
        'SUN397',
        'https://vision.princeton.edu/projects/2010/SUN',
        dict(train=19850, test=19850),
        {
            'SUN397': 'SUN397.tar.gz',
            'Partitions/Training_01.txt': 'Partitions.zip',
            'Partitions/Testing_01.txt': 'Partitions.zip',
        },
        ('train', 'test'),
    ),
    food101=Layout(
        'Food101',
        'https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101',
        dict(train=75750, test=25250),
        {
            'images': 'food-101.tar.gz',
            'meta/train.txt': 'food-101.tar.gz',
            'meta/test.txt': 'food-101.tar.gz',
        },
        ('train', 'test'),
    ),
    gtsrb=Layout(
        'GTSRB',
        'https://benchmark.ini.rub.de',
        dict(train=26640, test=12630),
        {
            'GTSRB/Training': 'GTSRB-Training_fixed.zip',
            'GTSRB/Final_Test/Images': 'GTSRB_Final_Test_Images.zip',
            'GT-final_test.csv': 'GTSRB_Final_Test_GT.zip',
        },
        ('train',),
    ),
    dtd=Layout(
        'DTD',
        'https://www.robots.ox.ac.uk/~vgg/data/dtd',
        dict(trainval=3760, test=1880),
        {
            'images': 'dtd-r1.0.1.tar.gz',
            'imdb/imdb.mat': 'dtd-r1.0.1.tar.gz',
        },
        ('trainval', 'test'),
    ),
    ucf101=Layout(
        'UCF101Frames',
        'https://www.crcv.ucf.edu/data/UCF101.php',
        dict(train=9537, val=3783),
        {
            'train': 'tools/extract_middle_frames.py',
            'val': 'tools/extract_middle_frames.py',
        },
        ('train', 'val'),
    ),
    pets=Layout(
        'OxfordIIITPet',
        'https://www.robots.ox.ac.uk/~vgg/data/pets',
        dict(trainval=3680, test=3669),
        {
            'images': 'images.tar.gz',
            'annotations/trainval.txt': 'annotations.tar.gz',
            'annotations/test.txt': 'annotations.tar.gz',
        },
        ('trainval', 'test'),
    ),
    caltech101=Layout(
        'Caltech101',
        'https://data.caltech.edu/records/mzrjq-6wc02',
        dict(train=3060, test=6084),
        {
            '101_ObjectCategories': '101_ObjectCategories.tar.gz',
            'meta/train.txt': '--make-split',
            'meta/test.txt': '--make-split',
        },
        ('train', 'test'),
    ),
    cifar10=Layout(
        'CIFAR10BGR',
        'https://www.cs.toronto.edu/~kriz/cifar.html',
        dict(train=50000, test=10000),
        {'cifar-10-batches-py': 'cifar-10-python.tar.gz'},
    ),
    cifar100=Layout(
        'CIFAR100BGR',
        'https://www.cs.toronto.edu/~kriz/cifar.html',
        dict(train=50000, test=10000),
        {'cifar-100-python': 'cifar-100-python.tar.gz'},
    ),
)


def _first(paths: list[str]) -> str:
    return ', '.join(paths[:3]) + (', ...' if len(paths) > 3 else '')


def missing_paths(name: str, root: str | Path) -> list[str]:
    """Say what is missing below a root, where it belongs and comes from.

    Args:
        name: Name of the data set, one of ``LAYOUTS``.
        root: Its folder.
    """
    layout = LAYOUTS[name]
    return [
        f'{Path(root, path)} is missing: it comes from {origin} '
        f'({layout.source})'
        for path, origin in layout.needs.items()
        if not Path(root, path).exists()
    ]


def check_split(name: str, root: str | Path, split: str) -> Iterator[str]:
    """Check one split and yield every problem.

    Its number of images, that every listed file is there, that every class
    has images, that labels agree with the class names in the paths, and that
    a few images can be decoded.

    Args:
        name: Name of the data set, one of ``LAYOUTS``.
        root: Its folder.
        split: One of the layout's splits.
    """
    layout = LAYOUTS[name]
    try:
        dataset = DATASETS.build(
            dict(
                type=layout.type,
                data_root=str(root),
                split=split,
                pipeline=layout.pipeline,
                serialize_data=False,  # there are no workers
                **layout.options,
            )
        )
        samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    except Exception as error:  # each data set raises its own
        yield f'{split}: cannot be read ({error})'
        return

    if len(samples) != layout.counts[split]:
        yield (
            f'{split}: {len(samples)} images, {layout.counts[split]} expected'
        )
    own = list(class_table(name))
    if name != 'imagenet' and list(dataset.metainfo['classes']) != own:
        yield f'{split}: the classes are not those of the table of {name}'
    empty = set(range(len(own))) - {info['gt_label'] for info in samples}
    if empty:
        yield f'{split}: no image of {_first([own[i] for i in sorted(empty)])}'

    paths = [info['img_path'] for info in samples if 'img_path' in info]
    absent = [path for path in paths if not Path(path).is_file()]
    if absent:
        yield f'{split}: {len(absent)} files missing: {_first(absent)}'
    if split in layout.named_paths:
        wrong = [
            info['img_path']
            for info in samples
            if not _holds(info['img_path'], own[info['gt_label']])
        ]
        if wrong:
            yield f'{split}: {len(wrong)} labels are of another class than '
            f'the path: {_first(wrong)}'
    for i in range(0, len(samples), max(1, len(samples) // DECODED)):
        path = samples[i].get('img_path', i)
        if path in absent:
            continue
        try:
            dataset[i]
        except Exception as error:  # decoders raise all kinds
            yield f'{split}: {path} cannot be decoded ({error})'


def _holds(path: str, name: str) -> bool:
    """Whether a path has the name of a class, folders joined by ``_``."""
    parts = re.escape(name).replace('_', '[_/]')
    return re.search(f'(^|[/_]){parts}[/_]', path) is not None


def check(name: str, root: str | Path) -> Iterator[str]:
    """Check a data set and yield every problem; nothing if all is well.

    Args:
        name: Name of the data set, one of ``LAYOUTS``.
        root: Its folder.
    """
    missing = missing_paths(name, root)
    yield from missing
    if not missing:
        for split in LAYOUTS[name].counts:
            yield from check_split(name, root, split)


def main(argv: list[str] | None = None) -> int:
    """Command line of ``tools/prepare_dataset.py``; 1 if problems."""
    parser = argparse.ArgumentParser(
        description='Check the folder of a data set; say what is missing.'
    )
    parser.add_argument('name', choices=NAMES)
    parser.add_argument('root', help='folder of the data set')
    parser.add_argument(
        '--make-split',
        action='store_true',
        help='caltech101: write meta/train.txt and meta/test.txt, 30 images '
        'a class to train, drawn with seed 0',
    )
    args = parser.parse_args(argv)
    init_default_scope('mmpretrain')
    if args.make_split:
        if args.name != 'caltech101':
            parser.error(
                f'{args.name} has a split, --make-split is not for it'
            )
        print(f'split written: {caltech101.make_split(args.root)}')
    problems = list(check(args.name, args.root))
    for problem in problems:
        print(problem)
    counts = ', '.join(
        f'{split} {count}'
        for split, count in LAYOUTS[args.name].counts.items()
    )
    verdict = f'{len(problems)} problem(s)' if problems else 'ready'
    print(f'{args.name} in {args.root}: {verdict} (expected: {counts})')
    return int(bool(problems))
