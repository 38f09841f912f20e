"""One image of any usual kind to the JPEG that stands in a record: square, one channel, 8 bits, as in the NIH TFRecords."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from records.image_header import ImageHeaderError, inspect

SQUASH, PAD, CROP = 'squash', 'pad', 'crop'
FITS = (SQUASH, PAD, CROP)

# The quantisation tables of the Kaggle records are those of libjpeg's quality 95; they carry a density of 300 dpi.
_QUALITY = 95
_DPI = (300, 300)
_FORMATS = ('JPEG', 'PNG', 'TIFF', 'BMP')
_MIN_SIDE = 64
# Some five times the largest digital radiograph; a header that claims more is damaged or hostile.
_MAX_PIXELS = 100_000_000
_DEPTHS = (8, 10, 12, 14, 16)


class UnusableImageError(ValueError):
    """An image that cannot be converted; the text says why."""


@dataclass(frozen=True)
class Converted:
    """`jpeg`: the encoded image; `width`, `height`: of the original in pixels; `bits`: the grey values' depth in the original."""

    jpeg: bytes
    width: int
    height: int
    bits: int


def to_jpeg(data: bytes, size: int = 600, fit: str = SQUASH) -> Converted:
    """Decodes an image and encodes it as `size` x `size` one-channel 8-bit JPEG.

    Colour becomes luma (ITU-R 601), alpha is dropped. Of 16-bit images the depth in use (10, 12, 14 or 16 bits, told by the brightest
    pixel) is scaled to 8 bits: detectors give 10 to 14 bits and pad them. Resized with a Lanczos filter, which averages when it shrinks.

    Args:
      data: an encoded JPEG, PNG, TIFF or BMP.
      size: side of the result in pixels.
      fit: what becomes of an image that is not square: SQUASH changes its proportions, as the NIH did when it made 1024x1024 PNGs of
        its films; PAD adds black borders; CROP cuts the longer side at both ends.

    Raises:
      UnusableImageError: it cannot be decoded, is cut off, has a side below 64, or more than 100 million pixels.
    """
    try:
        if data[:2] == b'\xff\xd8' or data[:4] == b'\x89PNG':
            header = inspect(data)
            _check_size(header.width, header.height)
            _check(header.complete, 'it is cut off: its end marker is missing')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # Pillow's own size warning: the limit stands below
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        width, height = image.size
        _check_size(width, height)
        grey, bits = _grey(ImageOps.exif_transpose(image))
    except (UnusableImageError, ImageHeaderError) as error:
        raise UnusableImageError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - on damaged input Pillow's decoders raise almost anything
        raise UnusableImageError(f'it cannot be decoded: {str(error) or type(error).__name__}') from None
    out = io.BytesIO()
    _resize(grey, size, fit).save(out, 'JPEG', quality=_QUALITY, dpi=_DPI)
    return Converted(out.getvalue(), width, height, bits)


def _check(holds: bool, reason: str) -> None:
    if not holds:
        raise UnusableImageError(reason)


def _check_size(width: int, height: int) -> None:
    _check(min(width, height) >= _MIN_SIDE, f'it is {width}x{height} pixels, expected at least {_MIN_SIDE} on each side')
    _check(width * height <= _MAX_PIXELS, f'it claims {width}x{height} pixels, more than any radiograph has')


def _grey(image: Image.Image) -> tuple[Image.Image, int]:
    """An image of mode L (or F in 0..255 for deep ones) and the depth of the original."""
    if image.mode in ('I', 'F') or image.mode.startswith('I;16'):
        values = np.asarray(image, dtype=np.float32)
        brightest = float(values.max())
        bits = next((depth for depth in _DEPTHS if brightest < 2**depth), 0)
        _check(bits > 0 and float(values.min()) >= 0, f'its grey values run from {values.min():g} to {brightest:g}: expected 0 to 65535')
        return Image.fromarray(values * np.float32(255 / (2**bits - 1))), bits
    if image.mode in ('LA', 'La'):
        return image.getchannel('L'), 8
    if image.mode in ('L', '1'):
        return image.convert('L'), 8
    return image.convert('RGB').convert('L'), 8


def _resize(image: Image.Image, size: int, fit: str) -> Image.Image:
    if fit == CROP:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    target = (size, size)
    if fit == PAD:
        scale = size / max(image.size)
        target = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if image.size != target:
        image = image.resize(target, Image.Resampling.LANCZOS)
    if image.mode == 'F':
        image = Image.fromarray(np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8))
    if target == (size, size):
        return image
    square = Image.new('L', (size, size))
    square.paste(image, ((size - target[0]) // 2, (size - target[1]) // 2))
    return square
