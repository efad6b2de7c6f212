"""A batch of noise in the shape of a config's, for counting and timing."""

import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample


def random_batch(
    cfg: Config, size: int, batch: int
) -> tuple[list[torch.Tensor], list[DataSample]]:
    """Make two random views and the masks of the config's generator.

    Args:
        cfg: Config of a MUST run.
        size: Side of the views in pixels.
        batch: Number of images.
    """
    generators = [
        TRANSFORMS.build(step)
        for step in cfg.train_dataloader.dataset.pipeline
        if step['type'] == 'MUSTMaskGenerator'
    ]
    samples = []
    for _ in range(batch):
        sample = DataSample()
        for generator in generators:
            sample.mask = torch.from_numpy(np.asarray(generator({})['mask']))
        samples.append(sample)
    return [torch.randn(batch, 3, size, size) for _ in range(2)], samples
