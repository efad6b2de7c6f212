"""The German Traffic Sign Recognition Benchmark."""

import csv
from pathlib import Path

from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from .names import class_table

FOLDERS = dict(
    train='GTSRB/Training',
    final_train='GTSRB/Final_Training/Images',
    test='GTSRB/Final_Test/Images',
)
ANNOTATIONS = 'GT-final_test.csv'


@DATASETS.register_module()
class GTSRB(BaseDataset):
    """GTSRB as its archives unpack, the layout of torchvision as well.

    ::

        data_root/GTSRB/Training/00000/*.ppm               26,640 images
        data_root/GTSRB/Final_Training/Images/00000/*.ppm  39,209 images
        data_root/GTSRB/Final_Test/Images/*.ppm            12,630 images
        data_root/GT-final_test.csv

    Args:
        data_root: Folder of the data set.
        split: ``'train'``, the training set of the benchmark's first stage,
            which CLIP used; ``'final_train'``, that of its final stage; or
            ``'test'``.
        **kwargs: As for MMPretrain's :class:`BaseDataset`.

    Raises:
        ValueError: If there is no such split.
        FileNotFoundError: If the split's files are missing.
    """

    METAINFO = dict(classes=tuple(class_table('gtsrb')))

    def __init__(self, data_root: str, split: str = 'train', **kwargs) -> None:
        if split not in FOLDERS:
            raise ValueError(
                f'GTSRB.split must be one of {tuple(FOLDERS)}, got {split!r}'
            )
        self.split = split
        super().__init__(
            ann_file=ANNOTATIONS if split == 'test' else '',
            data_root=data_root,
            data_prefix=FOLDERS[split],
            test_mode=split == 'test',
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """List image paths and labels, sorted by path.

        Raises:
            FileNotFoundError: If the split's files are missing.
        """
        folder = Path(self.img_prefix)
        needed = [folder] + [Path(self.ann_file)] * (self.split == 'test')
        for path in needed:
            if not path.exists():
                raise FileNotFoundError(
                    f'GTSRB: {path} is missing; unpack the archives of the '
                    f'{self.split} split into {self.data_root}'
                )
        label = {name: i for i, name in enumerate(self.METAINFO['classes'])}
        if self.split == 'test':
            with open(self.ann_file, newline='') as file:
                rows = list(csv.DictReader(file, delimiter=';'))
            pairs = [(row['Filename'], int(row['ClassId'])) for row in rows]
        else:
            pairs = [
                (f'{path.parent.name}/{path.name}', label[path.parent.name])
                for path in folder.glob('*/*.ppm')
            ]
        return [
            dict(img_path=str(folder / name), gt_label=number)
            for name, number in sorted(pairs)
        ]
