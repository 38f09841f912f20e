"""Decides whether an image goes to the model.

Simple rules find images that are too small, blank, too dark, too bright or coloured. For the rest,
a linear model compares "frontal chest X-ray" with each other kind of image: `evidence` is the
logarithm of the odds. An image is refused if the evidence for one kind exceeds its limit.
`experiments.assessment` fits the weights and the limits.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas import image_status, not_assessed
from serving.assessment import descriptors, pixels

WEIGHTS = Path(__file__).with_name('weights.json')
# A coloured marker or frame on a grey image is accepted; a photograph has colours everywhere.
_MAX_COLOURED = 0.2
# Grey levels, 0..255: of the pixel that is brighter than nine of ten others, and of the one that is
# darker. Of 6,972 real images, the former is at least 92 and the latter at most 194.
_DARK, _BRIGHT = 64, 208


@dataclass(frozen=True)
class Kind:
    """A kind of image that is not a frontal chest X-ray as the model expects it.

    Attributes:
      reason: a name of `schemas.not_assessed`.
      limit: the evidence from which an image is refused.
      weights: float64 [descriptors.LENGTH].
      bias: evidence of descriptors that are all 0.
    """

    reason: str
    limit: float
    weights: np.ndarray
    bias: float


def reason(content: bytes) -> str:
    """Why an image is not to be assessed, a name of `schemas.not_assessed`; '' if it is.

    Args:
      content: a PNG or JPEG. One that the model cannot read gets '': it says what is wrong.
    """
    image = pixels.read(content)
    if image is None:
        return ''
    name = by_rule(image) or by_evidence(evidence(image))
    # Half of a damaged file looks like cropped lungs. Only what is refused is worth the time.
    return name if name and pixels.is_readable(content) else ''


def by_rule(image: pixels.SmallImage) -> str:
    """The reason that a simple rule gives; '' if none does."""
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


def evidence(image: pixels.SmallImage) -> dict[str, float]:
    """Kind -> the logarithm of its odds against a frontal chest X-ray."""
    description = descriptors.describe(image.grey)
    return {name: float(kind.weights @ description) + kind.bias for name, kind in kinds().items()}


def by_evidence(values: dict[str, float], leniency: float = 0.0) -> str:
    """The reason of the kind whose evidence exceeds its limit most; '' if none does.

    Args:
      values: of `evidence`.
      leniency: is added to every limit.
    """
    excess = {name: values[name] - kind.limit for name, kind in kinds().items()}
    name = max(excess, key=excess.__getitem__)
    return kinds()[name].reason if excess[name] > leniency else ''


@functools.cache
def kinds() -> dict[str, Kind]:
    """The kinds of images that the weights tell from frontal chest X-rays."""
    content = json.loads(WEIGHTS.read_text(encoding='utf-8'))
    return {
        name: Kind(kind['reason'], kind['limit'], np.array(kind['weights']), kind['bias'])
        for name, kind in content.items()
    }
