"""Converts an image of any usual kind to the JPEG of a record: square, one channel, 8 bits.

It decodes TIFF and BMP itself, because only `convert` accepts them; `records.images` checks and
decodes JPEG and PNG, `records.dicom` DICOM.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from records.dicom import reader
from records.dicom.header import is_dicom
from records.image_header import JPEG, inspect
from records.images import (
    ImageError,
    blank,
    check_readable,
    check_size,
    decode_stored,
    grey_range,
    plain,
)
from schemas.image_status import BLANK, UNDECODABLE, UNSUPPORTED

SQUASH, PAD, CROP = 'squash', 'pad', 'crop'
FITS = (SQUASH, PAD, CROP)

# The Kaggle records have the quantisation tables of libjpeg's quality 95 and a density of 300 dpi.
_QUALITY = 95
_DPI = (300, 300)
_FORMATS = ('JPEG', 'PNG', 'TIFF', 'BMP')
_DEPTHS = (8, 10, 12, 14, 16)
# If the brightest upper byte of a 16-bit colour image reaches this, all 16 bits are in use, by the
# rule for grey images.
_FULL_RANGE_BYTE = 2**14 >> 8
# Tags of TIFF, and two of their values.
_BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC, _NEW_SUBFILE_TYPE, _JPEG_TABLES = (
    258,
    259,
    262,
    254,
    347,
)
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and lengths
_JPEG_COMPRESSION = 7
_MIN_IS_WHITE = 0
# The operation that undoes each EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class _Original:
    """A decoded original.

    Attributes:
      image: upright, in Pillow's mode.
      deep_colour: whether it has colour of 16 bits per channel, of which Pillow keeps the upper 8.
      min_is_white: whether its grey values still have to be inverted.
      bits, notes: of a DICOM file, as in Converted.
    """

    image: Image.Image
    deep_colour: bool = False
    min_is_white: bool = False
    bits: int = 8
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Converted:
    """A converted image.

    Attributes:
      jpeg: the encoded image.
      width, height: of the original, pixels.
      bits: depth of the grey values of the original.
      notes: what the reader of DICOM files says about the original.
    """

    jpeg: bytes
    width: int
    height: int
    bits: int
    notes: tuple[str, ...] = ()


def to_jpeg(data: bytes, size: int = 600, fit: str = SQUASH) -> Converted:
    """Converts an image to a square 8-bit grey JPEG that looks as a viewer shows the original.

    Colour becomes luma (ITU-R 601). Transparent parts become black; a constant alpha channel is
    dropped. The depth that a 16-bit image uses (10, 12, 14 or 16 bits, by its brightest pixel) is
    scaled to 8 bits, because detectors deliver 10 to 14 bits and pad them. Floats are scaled from
    0..1, or count as whole numbers of up to 16 bits. Images are resized with a Lanczos filter,
    which averages when it shrinks.

    Args:
      data: an encoded JPEG, PNG, TIFF or BMP, or a DICOM file.
      size: side of the result in pixels.
      fit: for an image that is not square: SQUASH changes its proportions, as the NIH did when it
        made 1024x1024 PNGs; PAD adds black borders; CROP cuts both ends of the longer side.

    Raises:
      ImageError: the image cannot be decoded or is damaged, is too small, too large or too costly,
        its grey values have an unknown range, or the result would be blank.
    """
    with warnings.catch_warnings():
        # Pillow warns about sizes, which `check_size` judges, and about EXIF data that we ignore.
        warnings.simplefilter('ignore')
        original = _decode(data)
    width, height = original.image.size
    try:
        grey, bits = _grey(original)
        grey = _resize(grey, size, fit)
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(UNDECODABLE, f'it cannot be decoded: {plain(error)}') from None
    if reason := blank(grey):
        raise ImageError(BLANK, reason)
    out = io.BytesIO()
    _framed(grey, size).save(out, 'JPEG', quality=_QUALITY, dpi=_DPI)
    return Converted(out.getvalue(), width, height, max(bits, original.bits), original.notes)


def _decode(data: bytes) -> _Original:
    """Decodes an image; raises ImageError."""
    if is_dicom(data):
        radiograph = reader.read(data)
        check_size(*radiograph.size)
        image = Image.fromarray(radiograph.render().pixels)
        return _Original(image, bits=int(radiograph.dataset.BitsStored), notes=radiograph.notes)
    if data[:2] == b'\xff\xd8' or data[:4] == b'\x89PNG':
        header = check_readable(data)
        image = decode_stored(data, header)
        if header.format == JPEG:
            if image.mode == 'CMYK':  # Pillow handles Adobe's inverted values
                image = Image.open(io.BytesIO(data), formats=('JPEG',)).convert('RGB')
            turn = _UPRIGHT.get(header.orientation)
            return _Original(image if turn is None else image.transpose(turn))
        return _Original(
            ImageOps.exif_transpose(image), header.bit_depth > 8 and header.channels > 1
        )
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        check_size(*image.size)
        _check_one_page(image)
        tags = getattr(image, 'tag_v2', {})
        if tags.get(_COMPRESSION) == _JPEG_COMPRESSION:
            _check_jpegs_of_tiff(data, tags)
        image.load()
        several = len(image.getbands()) > 1
        deep = max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8
        # Pillow undoes the inversion of 8-bit TIFFs only.
        inverted = tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE and image.mode not in ('1', 'L')
        return _Original(ImageOps.exif_transpose(image), deep and several, inverted)
    except ImageError:
        raise
    # On damaged input Pillow's decoders raise almost anything.
    except Exception as error:  # noqa: BLE001
        raise ImageError(UNDECODABLE, f'it cannot be decoded: {plain(error)}') from None


def _check_one_page(image: Image.Image) -> None:
    """Raises ImageError for a TIFF with several pages; smaller versions of one page are fine."""
    pages = 0
    for page in range(getattr(image, 'n_frames', 1)):
        image.seek(page)
        pages += not getattr(image, 'tag_v2', {}).get(_NEW_SUBFILE_TYPE, 0) & 1
    image.seek(0)
    if pages > 1:
        raise ImageError(
            UNSUPPORTED,
            f'it has {pages} pages: expected one image per file. Save each page as a separate file',
        )


def _check_jpegs_of_tiff(data: bytes, tags: Mapping[int, Any]) -> None:
    """Decodes each JPEG in a TIFF for the decoder's warnings, which libtiff hides."""
    tables = tags.get(_JPEG_TABLES, b'')
    for offsets, lengths in (_STRIPS, _TILES):
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            jpeg = data[offset : offset + length]
            # Joined without the end marker of the tables and the start marker of the image.
            whole = tables[:-2] + jpeg[2:] if tables else jpeg
            decode_stored(whole, inspect(whole))


def _grey(original: _Original) -> tuple[Image.Image, int]:
    """The grey image (mode L, or F in 0..255 above 8 bits) and the depth of the original."""
    image = original.image
    if image.mode in ('I', 'F') or image.mode.startswith('I;16'):
        values, bits = _scaled(np.array(image, dtype=np.float32), image.mode == 'F')
        return Image.fromarray(255 - values if original.min_is_white else values), bits
    grey = _opaque(image)
    if not original.deep_colour:
        return grey, 8
    _, brightest = grey_range(grey)
    if brightest < _FULL_RANGE_BYTE:
        raise ImageError(
            UNSUPPORTED,
            f'it is a 16-bit colour image with grey values below {int(brightest) + 1 << 8}, '
            'and only the upper 8 of 16 bits can be read: save it as 16-bit greyscale',
        )
    return grey, 16


def _scaled(values: np.ndarray, fractions: bool) -> tuple[np.ndarray, int]:
    """Scales grey values of more than 8 bits in place to 0..255.

    Args:
      values: float32 [height, width].
      fractions: whether the original has floats.

    Returns:
      The values and the number of bits in use.
    """
    low, high = float(values.min()), float(values.max())
    values_range = f'its grey values run from {low:g} to {high:g}'
    if fractions:
        if not np.isfinite(values).all():
            raise ImageError(
                UNSUPPORTED, 'some of its grey values are not finite (NaN or infinity)'
            )
        if low >= 0 and high <= 1:
            values *= 255
            return values, 16
        if not np.array_equal(values, np.rint(values)):
            raise ImageError(
                UNSUPPORTED,
                f'{values_range}, with fractions: expected 0 to 1, or whole numbers from 0 to '
                '65535',
            )
    bits = next((depth for depth in _DEPTHS if high < 2**depth), 0)
    if not bits or low < 0:
        raise ImageError(UNSUPPORTED, f'{values_range}: expected 0 to 65535')
    values *= 255 / (2**bits - 1)
    return values, bits


def _opaque(image: Image.Image) -> Image.Image:
    """Mode L with transparent parts black.

    A constant alpha channel hides nothing: some programs leave it at 0.
    """
    if not image.has_transparency_data:
        return image.convert('L') if image.mode in ('L', '1') else image.convert('RGB').convert('L')
    image = image.convert('LA' if image.mode in ('1', 'L', 'LA', 'La') else 'RGBA')
    alpha = image.getchannel('A')
    grey = image.getchannel('L') if image.mode == 'LA' else image.convert('RGB').convert('L')
    low, high = alpha.getextrema()
    return grey if low == high else Image.composite(grey, Image.new('L', grey.size), alpha)


def _resize(image: Image.Image, size: int, fit: str) -> Image.Image:
    """The image in 8 bits; `size` is the longer side for PAD, both sides otherwise."""
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
    return image


def _framed(image: Image.Image, size: int) -> Image.Image:
    """The image, centred in a black square."""
    if image.size == (size, size):
        return image
    square = Image.new('L', (size, size))
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square
