"""Decodes one image and reduces it to the numbers that the audit needs. No TensorFlow here.

`records.images` decides which images are accepted.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import google_crc32c
import numpy as np
from PIL import Image

from records import images

# Side of the thumbnail that shows polarity and near copies. 48 keeps images of different patients
# apart where 32 does not.
SIDE = 48
# Ingestion judges the sides, with limits of its own. The audit decodes every image that is not too
# large.
_ANY_SIDE = {'min_side': 1, 'max_side': 1 << 31}

# Sum of the 64 entries of ITU T.81 table K.1, the luminance table that libjpeg scales by its
# quality setting.
_LUMINANCE_SUM = 3688


@dataclass(frozen=True)
class Inspection:
    """The numbers of one image. Grey levels are 0..255, shares 0..1.

    Both are computed from means of 4x4 pixels where both sides have 192 pixels or more.

    Attributes:
      width, height, channels, mode, format: from the header, `mode` in Pillow's terms.
      source: a text that distinguishes scanners and export programs: format, mode, size and
        quantisation tables.
      quality: JPEG quality on libjpeg's scale 1..100, approximate below 25; NaN for other formats.
      mean, std, low, high: of the grey levels; `low` and `high` are the 1st and 99th percentiles.
      black, white: shares of pixels at 0 and at 255.
      span: difference between the brightest and the darkest single pixel.
      pixel_hash: 12 bytes, equal for equal pixels.
      byte_hash: 4 bytes, a hash of the encoded image.
      thumbnail: uint8 [SIDE * SIDE] as bytes, box-filtered.
    """

    width: int
    height: int
    channels: int
    mode: str
    format: str
    source: str
    quality: float
    mean: float
    std: float
    low: int
    high: int
    black: float
    white: float
    span: float
    pixel_hash: bytes
    byte_hash: bytes
    thumbnail: bytes


def inspect(data: bytes, max_pixels: int) -> Inspection:
    """Decodes every pixel of an encoded image.

    Raises:
      images.ImageError: the pipeline does not accept the image, it is damaged, or it has more than
        `max_pixels` pixels.
    """
    grey = decode(data, max_pixels)
    image = images.open_header(data)
    small = reduced(grey)
    histogram = np.asarray(small.histogram(), dtype=np.float64)
    pixels = histogram.sum()
    levels = np.arange(256)
    mean = float(histogram @ levels / pixels)
    low, high = np.searchsorted(np.cumsum(histogram), (0.01 * pixels, 0.99 * pixels))
    raw = grey.tobytes()
    levels_used = np.frombuffer(raw, dtype=np.uint8)
    half = len(raw) // 2
    tables = getattr(image, 'quantization', None)
    return Inspection(
        width=image.width,
        height=image.height,
        channels=len(image.getbands()),
        mode=image.mode,
        format=str(image.format),
        source=source(image),
        quality=_quality(tables),
        mean=mean,
        std=float(np.sqrt(max(histogram @ (levels - mean) ** 2 / pixels, 0.0))),
        low=int(low),
        high=int(high),
        black=float(histogram[0] / pixels),
        white=float(histogram[255] / pixels),
        span=float(levels_used.max()) - float(levels_used.min()),
        # Two CRCs instead of a cryptographic hash: several times as fast, and checked together with
        # the thumbnail.
        pixel_hash=struct.pack(
            '<HHII',
            image.width & 0xFFFF,
            image.height & 0xFFFF,
            google_crc32c.value(raw[:half]),
            google_crc32c.value(raw[half:]),
        ),
        byte_hash=struct.pack('<I', google_crc32c.value(data)),
        thumbnail=small.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes(),
    )


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """The grey levels of an encoded image, in Pillow's mode L.

    Raises:
      images.ImageError: see `inspect`.
    """
    return images.decode(
        data, images.check(data, images.ImageLimits(**_ANY_SIDE, max_pixels=max_pixels))
    )


def thumbnail(grey: Image.Image) -> Image.Image:
    """The thumbnail of an image: SIDE x SIDE pixels, box-filtered."""
    return reduced(grey).resize((SIDE, SIDE), Image.Resampling.BOX)


def reduced(grey: Image.Image) -> Image.Image:
    """Averages blocks of 4x4 pixels if both sides have 192 pixels or more.

    This saves two thirds of the time.
    """
    return grey.reduce(4) if min(grey.size) >= 4 * SIDE else grey


def source(image: Image.Image) -> str:
    """A text that distinguishes scanners and export programs.

    It has the format, mode, size and quantisation tables of the file; no pixels are decoded.
    """
    tables = getattr(image, 'quantization', None)
    digest = (
        hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:6] if tables else '-'
    )
    progressive = ' progressive' if image.info.get('progressive') else ''
    return f'{image.format}{progressive} {image.mode} {image.width}x{image.height} tables {digest}'


def _quality(tables) -> float:
    """libjpeg's quality setting, from the luminance table.

    libjpeg scales the standard table by 50/q below 50 and by 2 - q/50 above.
    """
    if not tables:
        return float('nan')
    scale = float(np.sum(tables[0]) / _LUMINANCE_SUM)
    return round(50 / scale if scale > 1 else 50 * (2 - scale), 1)
