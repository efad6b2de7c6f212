"""The views of a run, rendered once by its own pipeline, for all settings.

The draws of a view depend on (seed, epoch, sample) alone, so what one run
saw is what every other run of that draw would see: settings are compared on
the same views, and the loader's work is done once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample

from must_mm.datasets.seeding import EpochIndex


def render_views(
    cfg: Config, folder: Path, path: Path, draw: int, epochs: int
) -> Path:
    """Write the views and masks of all epochs, unless they are there.

    Args:
        cfg: A config with the pipeline.
        folder: Folder of the images.
        path: File of the views, (epochs, N, 2, 3, H, W), uint8; the masks,
            (epochs, N, h, w), are written beside it.
        draw: Seed of the run.
        epochs: Passes over the images.
    """
    if path.is_file():
        return path
    images = DATASETS.build(
        dict(cfg.train_dataloader.dataset, data_root=str(folder))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    views = masks = None
    for epoch in range(epochs):
        for number in range(len(images)):
            sample = images[EpochIndex(number, epoch, draw)]
            both = torch.stack(list(sample['inputs'])).numpy()
            mask = np.asarray(sample['data_samples'].mask, dtype=bool)
            if views is None:
                shape = (epochs, len(images))
                views = np.lib.format.open_memmap(
                    partial, 'w+', np.uint8, shape + both.shape
                )
                masks = np.zeros(shape + mask.shape, bool)
            views[epoch, number], masks[epoch, number] = both, mask
    np.save(masks_of(path), masks)
    views.flush()
    partial.rename(path)
    return path


def masks_of(path: Path) -> Path:
    """File of the masks beside the views."""
    return path.with_name(f'{path.stem}_mask.npy')


@DATASETS.register_module()
class RenderedViews(BaseDataset):
    """Training samples from rendered views.

    Args:
        parts: Files of views, and the numbers of the images that are used of
            each, in the order of the samples.
        labels: Classes of the samples; no setting trains with them.
        classes: Names of the classes.
    """

    def __init__(
        self,
        parts: list[tuple[str, list[int]]],
        labels: list[int],
        classes: list[str],
    ) -> None:
        self.views = [np.load(file, mmap_mode='r') for file, _ in parts]
        self.masks = [np.load(masks_of(Path(file))) for file, _ in parts]
        self.places = [
            (part, number)
            for part, (_, numbers) in enumerate(parts)
            for number in numbers
        ]
        self.labels = labels
        super().__init__(metainfo=dict(classes=classes), serialize_data=False)

    def load_data_list(self) -> list[dict]:
        """One entry a sample."""
        return [dict(gt_label=label) for label in self.labels]

    def __getitem__(self, index: EpochIndex) -> dict:
        part, number = self.places[index]
        epoch = index.epoch % len(self.views[part])
        weak, strong = torch.from_numpy(self.views[part][epoch, number].copy())
        sample = DataSample(metainfo=dict(sample_idx=int(index)))
        sample.set_field(self.masks[part][epoch, number], 'mask')
        sample.mask = torch.from_numpy(sample.mask)
        return dict(inputs=[weak, strong], data_samples=sample)
