"""Small copies of images of any kind, to embed in a page."""

import base64
import io
from pathlib import Path

from PIL import Image

from ..transforms.loading import UnreadableImage, read_image

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
        small = Image.fromarray(read_image(path)[..., ::-1])
    except UnreadableImage:
        return None
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, 'JPEG', quality=80)
    encoded = base64.b64encode(buffer.getvalue()).decode('ascii')
    return f'data:image/jpeg;base64,{encoded}'
