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
_DARK = 8  # grey levels up to which a border counts as black
_BORDER = 2  # width of the border in thumbnail pixels

# ITU T.81 table K.1, in natural order: what libjpeg scales by its quality setting.
_LUMINANCE = np.array(
    [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
     18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99]
)  # fmt: skip

# Left half of an 8x8 template, mirrored to the right: linear discriminant between chest films and their negatives, from 1,948 NIH films
# (shrunk covariance; each film also mirrored). Dark corners, bright abdomen and spine count for the right polarity.
_POLARITY_HALF = np.array(
    [[-29, -18, -5, 1], [-4, -4, -13, 10], [-3, 0, -11, -2], [1, -3, -8, 1], [-3, -4, -4, 10], [-8, -3, 3, 25], [-7, -6, 15, 38], [-6, 2, 13, 22]],
    dtype=np.float32,
)  # fmt: skip
_POLARITY = np.concatenate([_POLARITY_HALF, _POLARITY_HALF[:, ::-1]], axis=1)
_POLARITY -= _POLARITY.mean()
_POLARITY /= np.linalg.norm(_POLARITY)


class UndecodableError(ValueError):
    """An image that Transform could not decode; the text says why."""


class TooLargeError(ValueError):
    """An image with more pixels than the audit may decode."""


@dataclass(frozen=True)
class Inspection:
    """What is kept of an image; grey levels are 0..255, shares 0..1.

    Attributes:
      width, height, channels, mode, format: as the file says, `mode` in Pillow's terms.
      source: what tells scanners and export programs apart: format, mode, size and quantisation tables.
      quality: JPEG quality on libjpeg's scale 1..100; NaN for other formats.
      mean, std, low, high: of the grey levels; `low` and `high` are the 1st and 99th percentile.
      black, white: shares of pixels at 0 and at 255.
      border_black: share of the outer ring (2/48 of the side) that is black.
      polarity: likeness to a chest film, -1..1; an inverted film has the score of the film, negated.
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
    border_black: float
    polarity: float
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
    histogram = np.asarray(grey.histogram(), dtype=np.float64)
    pixels = histogram.sum()
    levels = np.arange(256)
    mean = float(histogram @ levels / pixels)
    low, high = np.searchsorted(np.cumsum(histogram), (0.01 * pixels, 0.99 * pixels))
    thumbnail = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))
    raw = image.tobytes()
    half = len(raw) // 2
    tables = getattr(image, 'quantization', None)
    return Inspection(
        width=image.width,
        height=image.height,
        channels=len(image.getbands()),
        mode=image.mode,
        format=str(image.format),
        source=_source(image, tables),
        quality=_quality(tables),
        mean=mean,
        std=float(np.sqrt(max(histogram @ (levels - mean) ** 2 / pixels, 0.0))),
        low=int(low),
        high=int(high),
        black=float(histogram[0] / pixels),
        white=float(histogram[255] / pixels),
        border_black=_border_black(thumbnail),
        polarity=_polarity(thumbnail),
        blank_end=_blank_end(image, grey),
        # Two CRCs instead of a cryptographic hash: several times as fast, and checked together with the thumbnail.
        pixel_hash=struct.pack(
            '<HHII', image.width & 0xFFFF, image.height & 0xFFFF, google_crc32c.value(raw[:half]), google_crc32c.value(raw[half:])
        ),
        byte_hash=struct.pack('<I', google_crc32c.value(data)),
        thumbnail=thumbnail.tobytes(),
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
        raise UndecodableError(str(error) or type(error).__name__) from None
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


def _source(image: Image.Image, tables) -> str:
    digest = hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:6] if tables else '-'
    progressive = ' progressive' if image.info.get('progressive') else ''
    return f'{image.format}{progressive} {image.mode} {image.width}x{image.height} tables {digest}'


def _quality(tables) -> float:
    """libjpeg's quality setting from the luminance table: it scales the standard table by 50/q below 50 and by 2 - q/50 above."""
    if not tables:
        return float('nan')
    scale = float(np.sum(tables[0]) / _LUMINANCE.sum())
    return round(50 / scale if scale > 1 else 50 * (2 - scale), 1)


def _border_black(thumbnail: np.ndarray) -> float:
    ring = np.ones((SIDE, SIDE), dtype=bool)
    ring[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    return float((thumbnail[ring] <= _DARK).mean())


def _polarity(thumbnail: np.ndarray) -> float:
    cell = SIDE // 8
    coarse = thumbnail.reshape(8, cell, 8, cell).mean((1, 3), dtype=np.float32)
    coarse -= coarse.mean()
    norm = float(np.linalg.norm(coarse))
    return float((coarse * _POLARITY).sum() / norm) if norm > 0 else 0.0


def _blank_end(image: Image.Image, grey: Image.Image) -> bool:
    if image.format != 'JPEG' or min(image.size) < 16:
        return False
    corner = grey.crop((grey.width - 4, grey.height - 4, grey.width, grey.height))
    # A film whose corner is plain mid-grey by design would be the whole block and the row before it; real films are not.
    return corner.getextrema() == (_BLANK, _BLANK)
