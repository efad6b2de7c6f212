"""Training sets of which some labels may be used, and their share of a batch.

Without these parts MUST sees no label: those that a data set has are only
logged.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATA_SAMPLERS, DATASETS

from ..utils.validation import check_number
from .seeding import EpochIndex, EpochSampler
from .wrapping import KEY, build_inside


def read_labels(path: str | Path, num_classes: int) -> dict[str, int]:
    """Read lines of a path and the index of its class.

    Args:
        path: Text file, UTF-8; the index follows the last space of a line.
        num_classes: Number of classes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is of another form, with its number.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{KEY}.labels: there is no file {path}')
    labels = {}
    lines = path.read_text(encoding='utf-8').splitlines()
    for number, line in enumerate(lines, 1):
        name, _, index = line.rpartition(' ')
        if not (name and index.isdecimal() and int(index) < num_classes):
            raise ValueError(
                f'{KEY}.labels: line {number} of {path} is not a path, a '
                f'space and the index of one of {num_classes} classes: '
                f'{line!r}'
            )
        labels[name] = int(index)
    return labels


@DATASETS.register_module()
class KnownLabels:
    """A training set with a list of labels that training may use.

    Samples of the list get ``gt_label`` and ``labelled``; what the data set
    itself says of labels is for the log, as ever.

    Args:
        labels: Text file of such images and the index of their class, one a
            line, as ``ants/3.jpg 0``; paths below ``data_root`` and
            ``data_prefix``.
        dataset: The data set's config, or its type, such as
            ``'CustomDataset'``. Wrappers, as to skip bad images, go around.
        source: Stands for ``dataset`` where a wrapper has that name already:
            ``type='SkipBadImages', dataset='KnownLabels', source=...``.
        options: Arguments of the data set.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line of it is of another form, or an image of it is
            not in the data set.
        TypeError: If ``dataset`` is neither a config nor a type, is a
            wrapper, or is given beside ``source``.
    """

    def __init__(
        self,
        labels: str | Path,
        dataset: str | dict | None = None,
        source: str | dict | None = None,
        **options,
    ) -> None:
        if dataset is None:
            dataset = source
        elif source is not None:
            raise TypeError(f'{KEY}: source stands for dataset, give one')
        self.dataset: BaseDataset = build_inside(dataset, **options)
        if not hasattr(self.dataset, 'img_prefix'):
            raise TypeError(
                f'{KEY}: KnownLabels takes no {type(self.dataset).__name__}, '
                'which does not say where images lie: put it around '
                "KnownLabels, as dict(type='SkipBadImages', "
                "dataset=dict(type='KnownLabels', ...))"
            )
        known = read_labels(labels, len(self.metainfo['classes']))
        root = self.dataset.img_prefix
        left = {str(Path(root, name)): k for name, k in known.items()}
        self._labels = {}
        for index in range(len(self.dataset)):
            path = str(Path(self.dataset.get_data_info(index)['img_path']))
            if path in left:
                self._labels[index] = left.pop(path)
        if left:
            raise ValueError(
                f'{KEY}.labels: {len(left)} images of {labels} are not in '
                f'the data set, such as {next(iter(left))}'
            )

    @property
    def metainfo(self) -> dict:
        """Meta information of the data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the list of images."""
        self.dataset.full_init()

    def get_data_info(self, index: int) -> dict:
        """Return what is known about a sample; ``labelled`` says if it is."""
        info = self.dataset.get_data_info(index)
        return info | dict(labelled=int(index) in self._labels)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        """Load a sample, with its label if that may be used."""
        sample = self.dataset[index]
        label = self._labels.get(int(index))
        if label is not None:
            marked = sample['data_samples']
            marked.set_gt_label(label)
            marked.set_field(True, 'labelled', field_type='metainfo')
        return sample


def labelled_turns(share: float, labelled: int) -> Iterator[bool]:
    """Say for one place of a batch after the other if its image is labelled.

    Evenly spread, so that ``share`` of any batch is, up to one image.

    Args:
        share: In [0, 1).
        labelled: How many labelled images there are; without any, none is.
    """
    place = 0
    while True:
        yield labelled > 0 and math.floor((place + 1) * share) > math.floor(
            place * share
        )
        place += 1


@DATA_SAMPLERS.register_module()
class LabelledShareSampler(EpochSampler):
    """:class:`EpochSampler` that adds labelled images to every batch.

    An epoch is one pass over the data set, as ever, with labelled images in
    between, drawn in turn and in random order: few of them come often, each
    time in views of its own.

    Args:
        dataset: Its ``get_data_info`` says which samples are ``labelled``.
        share: Of each batch, in [0, 1).
        options: See :class:`EpochSampler`.

    Raises:
        ValueError: If the share is out of its range.
    """

    def __init__(self, dataset, share: float = 0.25, **options) -> None:
        super().__init__(dataset, **options)
        check_number('train_dataloader.sampler.share', share, '[0, 1)')
        self.share = share
        self.labelled = [
            index
            for index in range(len(dataset))
            if dataset.get_data_info(index).get('labelled')
        ]
        # until all of the pass have had their turn
        self._plain, self._size = self.num_samples, 0
        for turn in labelled_turns(share, len(self.labelled)):
            if self._plain == 0:
                break
            self._size += 1
            self._plain -= not turn

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[EpochIndex]:
        """Iterate over this rank's part of one epoch."""
        plain, extra = super().__iter__(), self._repeated()
        turns = labelled_turns(self.share, len(self.labelled))
        for _ in range(self._size):
            yield next(extra) if next(turns) else next(plain)

    def _repeated(self) -> Iterator[EpochIndex]:
        """Labelled images without end, all once before any again."""
        generator = np.random.default_rng((self.seed, self.epoch, self.rank))
        repeat = 0
        while True:
            # of all ranks together, no view comes twice
            repeat += 1
            for place in generator.permutation(len(self.labelled)):
                yield EpochIndex(
                    self.labelled[place],
                    self.epoch,
                    self.seed,
                    repeat * self.world_size + self.rank,
                )
