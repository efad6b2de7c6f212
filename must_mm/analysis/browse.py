"""See what a MUST model is trained on: both views and the mask."""

from pathlib import Path

import numpy as np
from mmpretrain.registry import DATASETS
from PIL import Image

from ..runs import arguments

GAP = 4  # pixels between the pictures
GREY = (128, 128, 128)


def masked(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Grey the masked patches of an image.

    Args:
        image: uint8, (H, W, 3).
        mask: (h, w) on the grid of the patches, true where masked.
    """
    height, width = image.shape[:2]
    rows, columns = height // mask.shape[0], width // mask.shape[1]
    pixels = np.kron(mask.astype(bool), np.ones((rows, columns), bool))
    return np.where(pixels[..., None], np.uint8(GREY), image)


def panel(sample: dict) -> np.ndarray:
    """Weak view, strong view and what the student sees of it, in a row.

    Args:
        sample: What a training pipeline packs: ``inputs``, two BGR views
            (3, H, W), and ``data_samples`` with a ``mask`` (h, w) or without.

    Returns:
        RGB, uint8, (H, W', 3).

    Raises:
        ValueError: If the sample does not hold two views.
    """
    views = sample['inputs']
    if not isinstance(views, list) or len(views) != 2:
        raise ValueError(
            'train_dataloader.dataset.pipeline makes no weak and strong view'
        )
    weak, strong = (
        view.numpy().transpose(1, 2, 0)[..., ::-1] for view in views
    )
    pictures = [weak, strong]
    if 'mask' in sample['data_samples']:
        pictures.append(masked(strong, sample['data_samples'].mask.numpy()))
    gap = np.full((weak.shape[0], GAP, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(row[:-1], axis=1)


def main(argv: list[str] | None = None) -> None:
    """Command line of ``tools/browse_dataset.py``."""
    parser = arguments.parser('Draw what the model is trained on.')
    parser.add_argument('out', help='folder of the pictures')
    parser.add_argument(
        '-n',
        '--number',
        type=arguments.positive,
        default=8,
        help='number of images',
    )
    args = parser.parse_args(argv)
    cfg = arguments.read_config(args)
    with arguments.naming_loader('train_dataloader'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    step = max(1, len(dataset) // args.number)
    for i in range(0, len(dataset), step)[: args.number]:
        path = Path(args.out, f'{i:06d}.png')
        Image.fromarray(panel(dataset[i])).save(path)
        print(path)
