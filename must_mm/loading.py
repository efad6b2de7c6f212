"""One way to read a photo, for training, prediction and evaluation.

MMPretrain's loader depends on its backend: OpenCV drops transparency, Pillow
clips 16 bits to white. Here every kind of file comes to what one sees.
"""

from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageOps

Image.init()
# What Pillow decodes by itself: no format that starts another program.
FORMATS = tuple(
    name
    for name in 'JPEG PNG GIF WEBP BMP DIB TIFF PPM JPEG2000 AVIF'.split()
    if name in Image.OPEN
)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale one channel of more than 8 bits.

    16 bits by their range; 32 bits, whose range no file states, from the
    smallest to the largest value.
    """
    values = np.asarray(image, dtype=np.float64)
    if image.mode.startswith('I;16'):
        values = values / 257
    else:
        values = np.nan_to_num(values)
        low, high = values.min(), values.max()
        values = (values - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(values.round().astype(np.uint8))


def read_image(path: str | Path) -> Image.Image:
    """Read an image as one sees it.

    The first frame of an animation, turned upright as EXIF says; grey,
    palettes and CMYK as RGB; transparency on white; 16 bits scaled to 8.

    Returns:
        An image of mode RGB.

    Raises:
        ValueError: If it cannot be read, with the path and the reason.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit and image.width * image.height > limit:
                raise ValueError(
                    f'{image.width} x {image.height} pixels, more than the '
                    f'limit of {limit}'
                )
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith(('I', 'F')):
                image = _to_8_bits(image)
            if image.has_transparency_data:
                image = image.convert('RGBA')
                white = Image.new('RGBA', image.size, 'white')
                image = Image.alpha_composite(white, image)
            return image.convert('RGB')
    except Image.UnidentifiedImageError:
        reason = 'no image of a known format'
        if Path(path).stat().st_size == 0:
            reason = 'the file is empty'
    except Exception as error:  # damaged bytes make decoders raise anything
        reason = f'{error}' or type(error).__name__
    raise ValueError(f'{path}: {reason}')


@TRANSFORMS.register_module()
class LoadPhoto(BaseTransform):
    """Loads ``img_path`` by :func:`read_image`.

    Adds ``img``, (H, W, 3) of uint8 in BGR order as MMPretrain's transforms
    expect it, ``img_shape`` and ``ori_shape``.
    """

    def transform(self, results: dict) -> dict:
        """Load the image.

        Raises:
            ValueError: If it cannot be read.
        """
        rgb = np.asarray(read_image(results['img_path']))
        results['img'] = np.ascontiguousarray(rgb[..., ::-1])
        results['img_shape'] = results['ori_shape'] = rgb.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
