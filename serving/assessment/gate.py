"""Decides whether an image goes to the model."""

from __future__ import annotations

import numpy as np

from schemas import image_status, not_assessed
from serving.assessment import pixels

# A grey image with a coloured marker or frame is accepted; a photograph has colours everywhere.
_MAX_COLOURED = 0.2
# Grey levels, 0..255. Nine of ten pixels of an image that is too dark are below _DARK.
_DARK, _BRIGHT = 32, 223


def reason(content: bytes) -> str:
    """Why an image is not to be assessed, a name of `schemas.not_assessed`; '' if it is.

    Args:
      content: a PNG or JPEG. One that cannot be decoded gets '': the model says what is wrong.
    """
    image = pixels.read(content)
    return '' if image is None else _reason(image)


def _reason(image: pixels.SmallImage) -> str:
    if min(image.width, image.height) < not_assessed.MIN_SIDE:
        return image_status.TOO_SMALL
    low, tenth, ninetieth, high = np.percentile(image.grey, (0, 10, 90, 100))
    if high - low < image_status.BLANK_RANGE:
        return image_status.BLANK
    if ninetieth < _DARK:
        return not_assessed.TOO_DARK
    if tenth > _BRIGHT:
        return not_assessed.TOO_BRIGHT
    if image.coloured > _MAX_COLOURED:
        return not_assessed.NOT_CHEST
    return ''
