"""Describes an encoded image by numbers that change with scanner, processing and view.

It uses NumPy and Pillow only, since the gateway describes what it has answered.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFilter

from records import images
from serving.assessment import descriptors, gate, pixels

# Grows with each change of a number below: others are not compared with it.
REVISION = 1
# What a person can name, in the order of `Description.named`.
NAMES: dict[str, str] = {
    'megapixels': 'Size, logarithm of megapixels',
    'aspect': 'Width over height, logarithm',
    'bytes_per_pixel': 'Size of the file per pixel, logarithm of bytes',
    'mean': 'Mean grey level',
    'contrast': 'Standard deviation of the grey levels',
    'dark': 'Grey level of the 1st percentile',
    'bright': 'Grey level of the 99th percentile',
    'sharpness': 'Strength of the finest details, logarithm',
    'blocks': 'Edges of JPEG blocks over other edges, logarithm',
}
PATTERN_LENGTH = descriptors.LENGTH
# Finest details: the kernel of Laplace, which Immerkær, "Fast noise variance estimation", 1996,
# uses because it ignores edges and gradients.
_LAPLACE = ImageFilter.Kernel((3, 3), (1, -2, 1, -2, 4, -2, 1, -2, 1), scale=4, offset=128)
_JPEG_BLOCK = 8
_SMALLEST = 0.05
# Means of 4 x 4 pixels describe a larger image as well, in less time.
_REDUCED_FROM = 192
# Rows that are numbers at a time: those of the largest images would take half a gigabyte.
_ROWS = 256


class Description:
    """The numbers of an image.

    Attributes:
      named: float64 [len(NAMES)].
      pattern: float32 [PATTERN_LENGTH], see `serving.assessment.descriptors`.
      reason: why the gate of the service does not assess the image; '' if it does.
    """

    __slots__ = ('named', 'pattern', 'reason')

    def __init__(self, named: np.ndarray, pattern: np.ndarray, reason: str):
        self.named, self.pattern, self.reason = named, pattern, reason


def describe(content: bytes) -> Description | None:
    """Describes a PNG or JPEG; None if it cannot be decoded.

    Args:
      content: the encoded image, as the model gets it.
    """
    small = pixels.read(content)
    if small is None:
        return None
    try:
        grey = images.decode(content, images.check(content, pixels.LIMITS))
    except images.ImageError:
        return None
    levels = grey.reduce(4) if min(grey.size) >= _REDUCED_FROM else grey
    values = np.asarray(levels, dtype=np.float32)
    low, high = np.percentile(values, (1, 99))
    named = np.array(
        [
            np.log(grey.width * grey.height / 1e6),
            np.log(grey.width / grey.height),
            np.log(len(content) / (grey.width * grey.height)),
            values.mean(),
            values.std(),
            low,
            high,
            _sharpness(grey),
            _blocks(grey),
        ]
    )
    reason = gate.by_rule(small) or gate.by_evidence(gate.evidence(small))
    return Description(named, descriptors.describe(small.grey), reason)


def _sharpness(grey: Image.Image) -> float:
    """The logarithm of the mean strength of the finest details, in grey levels."""
    details = sum(
        int(np.abs(rows - 128).sum(dtype=np.int64)) for rows in _rows(grey.filter(_LAPLACE))
    )
    return float(np.log(details / (grey.width * grey.height) + _SMALLEST))


def _blocks(grey: Image.Image) -> float:
    """How much stronger steps between JPEG blocks are than steps within them, logarithm."""
    is_border = np.arange(1, grey.width) % _JPEG_BLOCK == 0
    if not is_border.any():
        return 0.0
    sums = np.zeros(grey.width - 1, np.int64)
    for rows in _rows(grey):
        sums += np.abs(np.diff(rows, axis=1)).sum(axis=0, dtype=np.int64)
    steps = sums / grey.height
    border, inside = steps[is_border].mean(), steps[~is_border].mean()
    return float(np.log((border + _SMALLEST) / (inside + _SMALLEST)))


def _rows(grey: Image.Image) -> Iterator[np.ndarray]:
    """The grey levels of a few rows at a time, int16 [rows, width]."""
    for top in range(0, grey.height, _ROWS):
        box = (0, top, grey.width, min(top + _ROWS, grey.height))
        yield np.asarray(grey.crop(box), dtype=np.int16)
