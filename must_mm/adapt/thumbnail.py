"""Small copies of images of any kind, to embed in a page."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SIDE = 240  # pixels: 160 on the page, sharp on a finer screen too


def thumbnail(path: Path, side: int = SIDE) -> str | None:
    """Shrink an image to a JPEG data URI; small images keep their size.

    Of an animation it shows the first frame. The copy carries none of the
    file's metadata, so no place or date of a photo either.

    Args:
        path: The image.
        side: Longest edge of the copy, in pixels.

    Returns:
        ``data:image/jpeg;base64,...``, or ``None`` if the image can no longer
        be read: a report is not lost for one picture.
    """
    try:
        with Image.open(path) as image:
            # a large JPEG is decoded at a fraction of its size
            image.draft(None, (side, side))
            small = as_rgb(ImageOps.exif_transpose(image))
    except Exception:  # decoders raise nearly anything on a damaged file
        return None
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, 'JPEG', quality=80)
    encoded = base64.b64encode(buffer.getvalue()).decode('ascii')
    return f'data:image/jpeg;base64,{encoded}'


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB.

    Sixteen bits become the upper eight, as OpenCV reads them; what is
    transparent becomes white.
    """
    if image.mode.startswith('I'):
        upper = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(upper.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        paper = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(paper, image.convert('RGBA'))
    return image.convert('RGB')
