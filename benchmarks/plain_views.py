"""The published views, written plainly with torchvision and timm.

What MUST's views are, in the libraries that their published settings name:
the yardstick of ``tools/benchmark.py data``, and of the tests that compare
distributions. Nothing here is made fast.
"""

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import auto_augment
from timm.data.auto_augment import rand_augment_transform
from torchvision import transforms

BICUBIC = transforms.InterpolationMode.BICUBIC
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
FILL = (123, 117, 104)


def _posterize(image: Image.Image, bits: int, **_) -> Image.Image:
    """Keep the high bits; none of them leaves black.

    timm asks Pillow for 0 bits where the magnitude reaches its top, which
    Pillow 13 refuses; what older ones returned is black.
    """
    if bits == 0:
        return Image.new(image.mode, image.size)
    return ImageOps.posterize(image, bits)


def published_ops(**hparams) -> list[auto_augment.AugmentOp]:
    """The 15 operations of ``rand-m9-mstd0.5-inc1``."""
    hparams.setdefault('img_mean', FILL)
    hparams.setdefault('interpolation', Image.BICUBIC)
    ops = rand_augment_transform('rand-m9-mstd0.5-inc1', hparams).ops
    for op in ops:
        if op.name == 'PosterizeIncreasing':
            op.aug_fn = _posterize
    return ops


class TimmRandAugment:
    """timm's RandAugment as a step of a pipeline: an array in, BGR, one out.

    timm works on Pillow's images.
    """

    def __init__(self) -> None:
        self.augment = auto_augment.RandAugment(published_ops())

    def __call__(self, results: dict) -> dict:
        """Replace ``img``, uint8, (H, W, 3)."""
        image = Image.fromarray(
            cv2.cvtColor(results['img'], cv2.COLOR_BGR2RGB)
        )
        augmented = np.asarray(self.augment(image))
        results['img'] = cv2.cvtColor(augmented, cv2.COLOR_RGB2BGR)
        return results


class PlainViews:
    """Weak view, strong view and mask of an image file.

    Args:
        size: Side of the views, in pixels.
        crop: Smallest and largest share of the image in the strong view.
        flip: Probability to mirror the strong view.
        block: Side of a block of the mask, in pixels.
        patch: Side of a patch of the model, in pixels.
        ratio: Share of blocks to mask.
        normalise: Whether the views are normalised here; if not, they are
            bytes, as those of MMPretrain's transforms are, which leave it to
            the device.

    Attributes:
        weak: From a Pillow image to the view, a Pillow image.
        strong: The same for the strong view.
        to_tensor: From a Pillow image to a tensor.
    """

    def __init__(
        self,
        size: int = 224,
        crop: tuple[float, float] = (0.3, 1.0),
        flip: float = 0.5,
        block: int = 32,
        patch: int = 16,
        ratio: float = 0.3,
        normalise: bool = True,
    ) -> None:
        self.weak = transforms.Compose(
            [
                transforms.Resize(size, BICUBIC),
                transforms.RandomCrop(size),
            ]
        )
        self.strong = transforms.Compose(
            [
                transforms.RandomResizedCrop(
                    size, scale=crop, interpolation=BICUBIC
                ),
                transforms.RandomHorizontalFlip(flip),
                auto_augment.RandAugment(published_ops()),
            ]
        )
        self.to_tensor = (
            transforms.Compose(
                [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
            )
            if normalise
            else transforms.PILToTensor()
        )
        self.grid, self.repeat = size // block, block // patch
        self.masked = int(np.ceil(ratio * self.grid**2))

    def mask(self) -> np.ndarray:
        """Draw a mask on the grid of the patches, 1 where masked."""
        cells = np.zeros(self.grid**2, int)
        cells[np.random.permutation(cells.size)[: self.masked]] = 1
        cells = cells.reshape(self.grid, self.grid)
        return cells.repeat(self.repeat, 0).repeat(self.repeat, 1)

    def __call__(
        self, path: str
    ) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Read a file.

        Returns:
            Weak and strong view, (3, size, size), float32 and normalised or
            uint8, and the mask.
        """
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file.convert('RGB'))
        weak, strong = self.weak(image), self.strong(image)
        return self.to_tensor(weak), self.to_tensor(strong), self.mask()
