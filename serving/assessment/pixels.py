"""Reads an image as the gate looks at it: small and grey."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image

from records import images
from schemas.image_status import MAX_PIXELS

# Width and height of the small image in pixels.
SIDE = 64
# The model has no limit for one side.
LIMITS = images.ImageLimits(max_side=MAX_PIXELS)
# Differences between the channels of a pixel up to this are left by the compression of a grey
# image.
_GREY_TOLERANCE = 24


@dataclass(frozen=True)
class SmallImage:
    """An image, reduced to SIDE x SIDE whatever its proportions, as the model also sees it.

    Attributes:
      grey: float32 [SIDE, SIDE], 0..255.
      coloured: the share of its pixels that are not grey.
      width, height: of the whole image.
    """

    grey: np.ndarray
    coloured: float
    width: int
    height: int


def read(content: bytes) -> SmallImage | None:
    """Reduces an encoded image; None for one that cannot be decoded.

    It decodes the image once, and does not find out whether the model accepts all of it:
    `is_readable` does.
    """
    try:
        header = images.check_header(content, LIMITS)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            image = images.open_header(content)
            # libjpeg then leaves out most of the work of a large JPEG.
            image.draft(None, (2 * SIDE, 2 * SIDE))
            small = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    # On damaged input Pillow's decoders raise almost anything.
    except Exception:  # noqa: BLE001
        return None
    values = np.asarray(small, dtype=np.float32)
    if values.ndim == 2:
        return SmallImage(values, 0.0, header.width, header.height)
    spread = values.max(axis=-1) - values.min(axis=-1)
    coloured = float((spread > _GREY_TOLERANCE).mean())
    return SmallImage(values.mean(axis=-1), coloured, header.width, header.height)


def is_readable(content: bytes) -> bool:
    """Whether the model reads the image; checks the whole file and decodes all pixels."""
    try:
        images.decode_stored(content, images.check(content, LIMITS))
    except images.ImageError:
        return False
    return True
