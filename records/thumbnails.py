"""Small pictures of images, for pages."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from records import images
from schemas import image_status

if TYPE_CHECKING:
    from PIL import Image

# Longer side in pixels, and quality as a JPEG: about 6 kB.
_SIDE, _QUALITY = 224, 75


def jpeg(content: bytes) -> bytes:
    """A small grey JPEG of an encoded image; empty for an image that cannot be decoded."""
    try:
        images.check_header(
            content, images.ImageLimits(min_side=1, max_side=image_status.MAX_PIXELS)
        )
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            image = images.open_header(content)
            image.draft(None, (_SIDE, _SIDE))
            return encode(image)
    # On damaged input Pillow's decoders raise almost anything.
    except Exception:  # noqa: BLE001
        return b''


def encode(image: Image.Image, side: int = _SIDE) -> bytes:
    """A small grey JPEG of an open image, which is shrunk in place.

    Args:
      image: of Pillow.
      side: the longer side of the JPEG, in pixels.
    """
    image.thumbnail((side, side))
    stream = io.BytesIO()
    image.convert('L').save(stream, 'JPEG', quality=_QUALITY)
    return stream.getvalue()
