"""Small folders laid out as the data sets are, with generated images."""

import pickle
from pathlib import Path

import mat4py
import numpy as np
from PIL import Image

from must_mm.datasets.names import class_table

SIZE = (60, 48)


def draw(path: Path, seed: int = 0) -> None:
    """Write a smooth random image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3))
    image = Image.fromarray(coarse.astype(np.uint8)).resize(SIZE)
    image.save(path)


def link(source: Path, paths) -> None:
    """Make every path the same file."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(source)


def imagenet(root, own, image):
    for split in ('train', 'val'):
        link(image, [root / split / name / 'x.JPEG' for name in own])


def sun397(root, own, image):
    # some categories lie a folder deeper: airplane_cabin is one folder,
    # apartment_building_outdoor is apartment_building/outdoor
    def folder(name):
        stem, _, last = name.rpartition('_')
        deep = last in ('indoor', 'outdoor')
        return f'/{name[0]}/{stem}/{last}' if deep else f'/{name[0]}/{name}'

    (root / 'Partitions').mkdir(parents=True)
    for split in ('Training', 'Testing'):
        files = [f'{folder(name)}/sun_{split}.jpg' for name in own]
        link(image, [root / f'SUN397{file}' for file in files])
        list_file = root / 'Partitions' / f'{split}_01.txt'
        list_file.write_text('\n'.join(files) + '\n')


def food101(root, own, image):
    (root / 'meta').mkdir(parents=True)
    for split in ('train', 'test'):
        files = [f'{name}/{split}' for name in own]
        link(image, [root / 'images' / f'{file}.jpg' for file in files])
        (root / 'meta' / f'{split}.txt').write_text('\n'.join(files) + '\n')


def gtsrb(root, own, image):
    ppm = root / 'image.ppm'
    ppm.parent.mkdir(parents=True)
    Image.open(image).save(ppm)
    for folder in ('Training', 'Final_Training/Images'):
        link(ppm, [root / 'GTSRB' / folder / name / '0_0.ppm' for name in own])
    # the official list is in no order of the classes
    numbers = list(enumerate(range(len(own))[::-1]))
    link(
        ppm,
        [
            root / 'GTSRB' / 'Final_Test' / 'Images' / f'{i:05d}.ppm'
            for i, _ in numbers
        ],
    )
    rows = [f'{i:05d}.ppm;60;48;5;5;55;43;{label}' for i, label in numbers]
    header = 'Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId'
    csv = root / 'GT-final_test.csv'
    csv.write_text('\n'.join([header, *rows]) + '\n')


def dtd(root, own, image):
    names = [f'{name}/{name}_{i}.jpg' for name in own for i in range(3)]
    link(image, [root / 'images' / name for name in names])
    images = dict(
        name=names,
        set=[i + 1 for _ in own for i in range(3)],
    )
    images['class'] = [k + 1 for k in range(len(own)) for _ in range(3)]
    (root / 'imdb').mkdir()
    mat4py.savemat(str(root / 'imdb' / 'imdb.mat'), dict(images=images))


def ucf101(root, own, image):
    for split in ('train', 'val'):
        link(image, [root / split / name / 'v.jpg' for name in own])


def pets(root, own, image):
    (root / 'annotations').mkdir(parents=True)
    for split in ('trainval', 'test'):
        rows = [f'{name}_{split} {k + 1} 1 1' for k, name in enumerate(own)]
        files = [root / 'images' / f'{row.split()[0]}.jpg' for row in rows]
        link(image, files)
        list_file = root / 'annotations' / f'{split}.txt'
        list_file.write_text('\n'.join(rows) + '\n')


def caltech101(root, own, image):
    (root / 'meta').mkdir(parents=True)
    for split in ('train', 'test'):
        rows = [f'{name}/{split}.jpg {k}' for k, name in enumerate(own)]
        folder = root / '101_ObjectCategories'
        link(image, [folder / row.split()[0] for row in rows])
        (root / 'meta' / f'{split}.txt').write_text('\n'.join(rows) + '\n')


def cifar(folder, parts, key):
    def write(root, own, image):
        pixels = np.asarray(Image.open(image).resize((32, 32)))
        row = pixels.transpose(2, 0, 1).reshape(-1)
        (root / folder).mkdir(parents=True)
        for part in parts:
            batch = dict(data=np.stack([row] * len(own)))
            batch['fine_labels' if 'fine' in key else 'labels'] = [
                *range(len(own))
            ]
            (root / folder / part).write_bytes(pickle.dumps(batch))
        meta = 'meta' if 'fine' in key else 'batches.meta'
        names = pickle.dumps({key: list(own)})
        (root / folder / meta).write_bytes(names)

    return write


cifar10 = cifar(
    'cifar-10-batches-py',
    [*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch'],
    'label_names',
)
cifar100 = cifar('cifar-100-python', ['train', 'test'], 'fine_label_names')


def write_layout(name: str, root: Path) -> Path:
    """Lay out a data set with one image a class and split.

    MMPretrain checks the sums of CIFAR's files, which generated ones cannot
    have: switch ``_check_integrity`` off to read them.

    Args:
        name: Name of the data set.
        root: Its folder, which must not exist.
    """
    image = root.parent / f'{root.name}.jpg'
    draw(image)
    globals()[name](root, list(class_table(name)), image)
    return root
