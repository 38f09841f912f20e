"""Describes an encoded image by numbers that change with scanner, processing and view."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from components.data_audit import inspection
from schemas.image_status import MAX_PIXELS
from serving.assessment import descriptors, gate, pixels

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
        grey = inspection.decode(content, MAX_PIXELS)
    except inspection.images.ImageError:
        return None
    levels = inspection.reduced(grey)
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
    details = np.asarray(grey.filter(_LAPLACE), dtype=np.float32) - 128
    return float(np.log(np.abs(details).mean() + _SMALLEST))


def _blocks(grey: Image.Image) -> float:
    """How much stronger steps between JPEG blocks are than steps within them, logarithm."""
    values = np.asarray(grey, dtype=np.float32)
    steps = np.abs(np.diff(values, axis=1)).mean(axis=0)
    is_border = np.arange(1, len(steps) + 1) % _JPEG_BLOCK == 0
    if not is_border.any():
        return 0.0
    border, inside = steps[is_border].mean(), steps[~is_border].mean()
    return float(np.log((border + _SMALLEST) / (inside + _SMALLEST)))
