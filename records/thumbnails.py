"""Small pictures of images, for pages."""

from __future__ import annotations

import io
import warnings

from records import images
from schemas import image_status

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
            image.thumbnail((_SIDE, _SIDE))
            small = image.convert('L')
    # On damaged input Pillow's decoders raise almost anything.
    except Exception:  # noqa: BLE001
        return b''
    stream = io.BytesIO()
    small.save(stream, 'JPEG', quality=_QUALITY)
    return stream.getvalue()
