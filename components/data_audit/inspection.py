"""Decodes one image in full and reduces it to the few numbers that the audit needs. Pillow and NumPy only.

What TensorFlow refuses must not pass here, since Transform decodes with it. Compared with tf.io.decode_jpeg(channels=1) on truncated,
cut, flipped and re-encoded real films, Pillow is more lenient in four cases, which are refused here as well: a JPEG without its end
marker, a PNG without its IEND chunk, a CMYK JPEG, and formats other than JPEG and PNG.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass

import google_crc32c
import numpy as np
from PIL import Image

# Side of the thumbnail from which polarity and near copies are told; 48 keeps films of different patients apart where 32 does not.
SIDE = 48
FORMATS = ('JPEG', 'PNG')
_JPEG_SCAN, _JPEG_END = b'\xff\xda', b'\xff\xd9'
# What Pillow's parsers raise on damaged files besides OSError.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_BLANK = 128  # libjpeg leaves blocks for which there is no data at mid-grey

# Sum of the 64 entries of ITU T.81 table K.1, the luminance table that libjpeg scales by its quality setting.
_LUMINANCE_SUM = 3688


class UndecodableError(ValueError):
    """An image that Transform could not decode; the text says why."""


class TooLargeError(ValueError):
    """An image with more pixels than the audit may decode."""


@dataclass(frozen=True)
class Inspection:
    """What is kept of an image; grey levels are 0..255, shares 0..1. Both are of 4x4 means where a side has 192 pixels or more.

    Attributes:
      width, height, channels, mode, format: as the file says, `mode` in Pillow's terms.
      source: what tells scanners and export programs apart: format, mode, size and quantisation tables.
      quality: JPEG quality on libjpeg's scale 1..100, approximate below 25; NaN for other formats.
      mean, std, low, high: of the grey levels; `low` and `high` are the 1st and 99th percentile.
      black, white: shares at 0 and at 255.
      blank_end: the last pixels are the mid-grey that libjpeg leaves where data is missing.
      pixel_hash: 8 bytes, equal for equal pixels; byte_hash: 4 bytes, of the encoded image.
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
    blank_end: bool
    pixel_hash: bytes
    byte_hash: bytes
    thumbnail: bytes


def inspect(data: bytes, max_pixels: int) -> Inspection:
    """Decodes every pixel of an encoded image.

    Raises:
      UndecodableError: TensorFlow would refuse it, or would decode a truncated file.
      TooLargeError: it has more than `max_pixels` pixels; it was not decoded.
    """
    image = decode(data, max_pixels)
    grey = to_grey(image)
    small = reduced(grey)
    histogram = np.asarray(small.histogram(), dtype=np.float64)
    pixels = histogram.sum()
    levels = np.arange(256)
    mean = float(histogram @ levels / pixels)
    low, high = np.searchsorted(np.cumsum(histogram), (0.01 * pixels, 0.99 * pixels))
    raw = image.tobytes()
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
        blank_end=_blank_end(image, grey),
        # Two CRCs instead of a cryptographic hash: several times as fast, and checked together with the thumbnail.
        pixel_hash=struct.pack(
            '<HHII', image.width & 0xFFFF, image.height & 0xFFFF, google_crc32c.value(raw[:half]), google_crc32c.value(raw[half:])
        ),
        byte_hash=struct.pack('<I', google_crc32c.value(data)),
        thumbnail=small.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes(),
    )


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """The decoded image; raises as `inspect` does."""
    if not data:
        raise UndecodableError('no bytes')
    try:
        image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise TooLargeError(f'more than {max_pixels:,} pixels') from None
    except _BROKEN:
        raise UndecodableError(f'no known image format: begins with {data[:8].hex(" ")}') from None
    if image.width * image.height > max_pixels:
        raise TooLargeError(f'{image.width} x {image.height} pixels, at most {max_pixels:,} are decoded')
    if image.format not in FORMATS:
        raise UndecodableError(f'{image.format}: TensorFlow decodes {" and ".join(FORMATS)}')
    if image.mode == 'CMYK':
        raise UndecodableError('JPEG in CMYK: TensorFlow refuses it')
    try:
        image.load()
    except _BROKEN as error:
        text = str(error) or type(error).__name__
        raise UndecodableError('truncated: the file ends before the last row' if 'truncated' in text else text) from None
    if image.format == 'JPEG' and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise UndecodableError('truncated: the JPEG has no end marker')
    if image.format == 'PNG' and b'IEND' not in data[-64:] and b'IEND' not in data:
        raise UndecodableError('truncated: the PNG has no IEND chunk')
    return image


def to_grey(image: Image.Image) -> Image.Image:
    """8-bit grey; of 16-bit images the upper 8 bits, as TensorFlow takes them."""
    if image.mode == 'L':
        return image
    if image.mode.startswith('I'):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    return image.convert('RGB').convert('L') if image.mode in ('P', 'PA', 'RGBA', 'LA') else image.convert('L')


def thumbnail(grey: Image.Image) -> Image.Image:
    """SIDE x SIDE, box-filtered."""
    return reduced(grey).resize((SIDE, SIDE), Image.Resampling.BOX)


def reduced(grey: Image.Image) -> Image.Image:
    """Means of 4x4 pixels, where the image is large enough: statistics and thumbnail of these take a third of the time."""
    return grey.reduce(4) if min(grey.size) >= 4 * SIDE else grey


def source(image: Image.Image) -> str:
    """What tells scanners and export programs apart: format, mode, size and quantisation tables. The pixels need not be decoded yet."""
    tables = getattr(image, 'quantization', None)
    digest = hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:6] if tables else '-'
    progressive = ' progressive' if image.info.get('progressive') else ''
    return f'{image.format}{progressive} {image.mode} {image.width}x{image.height} tables {digest}'


def _quality(tables) -> float:
    """libjpeg's quality setting from the luminance table: it scales the standard table by 50/q below 50 and by 2 - q/50 above."""
    if not tables:
        return float('nan')
    scale = float(np.sum(tables[0]) / _LUMINANCE_SUM)
    return round(50 / scale if scale > 1 else 50 * (2 - scale), 1)


def _blank_end(image: Image.Image, grey: Image.Image) -> bool:
    if image.format != 'JPEG' or min(image.size) < 16:
        return False
    corner = grey.crop((grey.width - 4, grey.height - 4, grey.width, grey.height))
    return corner.getextrema() == (_BLANK, _BLANK)
