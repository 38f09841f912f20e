"""Checks and decodes encoded images, for everything outside TensorFlow graphs.

`cxr-triage convert`, `cxr-triage check`, ingestion and the data audit all use it, so an image that
one of them accepts is accepted by the others. The served model applies the same rule in its graph
(`trainer.image_assessment`). `schemas.image_status` has the rule and the names of the problems.

- `check_readable`: can these bytes be decoded at a bounded cost? `convert` uses it, which also
  reads TIFF and BMP (`records.convert.pixels`).
- `check`: do the stored pixels also look like what a viewer shows? The pipeline uses it.
- `decode`: the pixels. An image is damaged if the decoder says so.

The decoders and NumPy are imported only where pixels are decoded, because everything that reads a
configuration imports this module.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from records.image_header import JPEG, ImageHeader, ImageHeaderError, inspect, png_chunks
from schemas.image_status import (
    BLANK_RANGE,
    MAX_PIXELS,
    MAX_SCANS,
    MIN_SIDE,
    TOO_LARGE,
    TOO_SMALL,
    TRUNCATED,
    UNDECODABLE,
    UNSUPPORTED,
)

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE = 8192
# Bytes a decoder may take for the pixels (and coefficients) of one image: enough for RGB images of
# MAX_PIXELS.
_MAX_BYTES = 3 * MAX_PIXELS
# Pixels times scans: each scan of a progressive JPEG is a pass over the whole image.
_MAX_SCANNED_PIXELS = 10 * MAX_PIXELS
# A JPEG spends at least one bit on each block of 8x8 pixels; deflate makes data at most 1032 times
# smaller.
_PIXELS_PER_BIT = 64
_MAX_DEFLATE_RATIO = 1032
# First column, first row, column step and row step of the seven passes of an interlaced PNG.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_CONVERT = '`cxr-triage convert` makes such an image from the original'


class ImageError(ValueError):
    """An image that is not accepted; the text says why.

    Attributes:
      kind: one of `schemas.image_status.PROBLEMS`.
    """

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class ImageLimits:
    """The accepted sizes in pixels: `min_side` and `max_side` of each side, `max_pixels` in all."""

    min_side: int = MIN_SIDE
    max_side: int = MAX_SIDE
    max_pixels: int = MAX_PIXELS


DEFAULT_LIMITS = ImageLimits()


def check(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> ImageHeader:
    """Checks an encoded image as the pipeline does, from its header.

    Pixels are decoded only for a PNG with an alpha channel.

    Example:
        >>> check(Path('image.jpeg').read_bytes()).width
        600

    Raises:
      ImageError: of any kind except BLANK.
    """
    header = check_readable(data, limits)
    unsupported = _unsupported(data, header)
    if unsupported:
        raise ImageError(
            UNSUPPORTED,
            f'{unsupported}: expected 8 bits per channel, greyscale or RGB, upright. {_CONVERT}',
        )
    return header


def check_readable(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> ImageHeader:
    """Checks that an encoded JPEG or PNG is complete and can be decoded at a bounded cost.

    Raises:
      ImageError: UNDECODABLE, TRUNCATED, TOO_LARGE, TOO_SMALL, or UNSUPPORTED for too many scans.
    """
    header = check_header(data, limits)
    if header.format != JPEG:
        _check_png_rows(data, header)
    return header


def check_header(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> ImageHeader:
    """Does the part of `check_readable` that does not inflate the rows of a PNG.

    An image that it accepts can be decoded at a bounded cost, but rows of a PNG may be missing.

    Raises:
      ImageError: as for `check_readable`.
    """
    try:
        header = inspect(data)
    except ImageHeaderError as error:
        raise ImageError(UNDECODABLE, str(error)) from None
    check_size(header.width, header.height, limits)
    _check_cost(header)
    if not header.complete:
        raise ImageError(
            TRUNCATED, 'it is cut off: its end marker or some of its scans are missing'
        )
    if header.format == JPEG and len(data) * 8 * _PIXELS_PER_BIT < header.width * header.height:
        raise ImageError(
            TRUNCATED,
            f'{len(data):,} bytes cannot hold the {header.width}x{header.height} pixels its '
            'header claims',
        )
    return header


def check_size(width: int, height: int, limits: ImageLimits = DEFAULT_LIMITS) -> None:
    """Raises ImageError (TOO_SMALL or TOO_LARGE) if a size in pixels is outside the limits."""
    size = f'{width}x{height} pixels'
    if min(width, height) < limits.min_side:
        raise ImageError(
            TOO_SMALL, f'it has {size}: expected at least {limits.min_side} on each side (min_side)'
        )
    if max(width, height) > limits.max_side:
        raise ImageError(
            TOO_LARGE, f'it has {size}: expected at most {limits.max_side} on each side (max_side)'
        )
    if width * height > limits.max_pixels:
        raise ImageError(
            TOO_LARGE,
            f'it has {size}: expected at most {limits.max_pixels:,} pixels in all (max_pixels)',
        )


def decode(data: bytes, header: ImageHeader) -> Image.Image:
    """Decodes the grey levels of an image that `check` accepted.

    Args:
      data: the encoded image.
      header: what `check` returned for it.

    Returns:
      An image of mode L, 0..255; colour becomes luma (ITU-R 601).

    Raises:
      ImageError: UNDECODABLE or TRUNCATED.
    """
    image = decode_stored(data, header)
    return image if image.mode == 'L' else image.convert('L')


def decode_stored(data: bytes, header: ImageHeader) -> Image.Image:
    """Decodes an image that `check_readable` accepted. EXIF orientation is not applied.

    Returns:
      Mode L (luma) for a JPEG of one or three channels, CMYK for one of four, and Pillow's mode for
      a PNG.

    Raises:
      ImageError: UNDECODABLE or TRUNCATED: the decoder reports damage, even damage that it could
        fill with grey.
    """
    return _decode_jpeg(data, header) if header.format == JPEG else _decode_png(data)


def open_header(data: bytes) -> Image.Image:
    """Pillow's view of an image that `check` accepted: mode, size, quantisation tables.

    No pixel is decoded.
    """
    from PIL import Image

    return Image.open(io.BytesIO(data), formats=('JPEG', 'PNG'))


def blank(image: Image.Image) -> str:
    """Why an image shows nothing; '' if it shows something.

    Args:
      image: mode L, or F with values 0..255.
    """
    low, high = grey_range(image)
    if high - low >= BLANK_RANGE:
        return ''
    return f'it shows nothing: its grey levels run from {low:.0f} to {high:.0f} of 255'


def grey_range(image: Image.Image) -> tuple[float, float]:
    """The lowest and the highest value of an image with one channel."""
    import numpy as np

    values = np.asarray(image)  # Pillow's own getextrema takes five times as long
    return float(values.min()), float(values.max())


def _unsupported(data: bytes, header: ImageHeader) -> str:
    if header.bit_depth != 8:
        return f'it has {header.bit_depth} bits per channel'
    if header.palette:
        return 'it has a colour palette'
    if header.format == JPEG and header.channels not in (1, 3):
        return f'it has {header.channels} channels (CMYK?)'
    if header.alpha and not _is_opaque(data, header):
        return 'parts of it are transparent'
    if header.orientation != 1:
        return f'its EXIF orientation is {header.orientation}, so viewers rotate or mirror it'
    return ''


def _is_opaque(data: bytes, header: ImageHeader) -> bool:
    """Whether the alpha channel of a PNG hides nothing; a transparent colour (tRNS) hides some."""
    import numpy as np

    has_channel = header.channels in (2, 4)
    return has_channel and bool((np.asarray(_decode_png(data))[:, :, -1] == 255).all())


def _check_cost(header: ImageHeader) -> None:
    pixels = header.width * header.height
    if header.scans > MAX_SCANS:
        raise ImageError(
            UNSUPPORTED,
            f'it is a JPEG of more than {MAX_SCANS} scans, which takes too long to decode. '
            f'{_CONVERT}',
        )
    if header.scans * pixels > _MAX_SCANNED_PIXELS:
        raise ImageError(
            TOO_LARGE,
            f'it has {header.scans} scans of {header.width}x{header.height} pixels: expected at '
            f'most {_MAX_SCANNED_PIXELS:,} pixels in '
            'all scans together',
        )
    # Of a JPEG with several scans, libjpeg keeps all coefficients (2 bytes each) until the last
    # scan is read.
    sample = 2 if header.bit_depth > 8 or header.scans > 1 else 1
    size = pixels * header.channels * sample
    if size > _MAX_BYTES:
        raise ImageError(
            TOO_LARGE, f'it takes {size >> 20:,} MiB to decode: expected at most {_MAX_BYTES >> 20}'
        )


def _check_png_rows(data: bytes, header: ImageHeader) -> None:
    """Inflates the pixel data and checks every row: Pillow fills missing rows without a warning."""
    bits = header.bit_depth * (1 if header.palette else header.channels)
    passes = _ADAM7 if header.progressive else ((0, 0, 1, 1),)
    rows = []  # (number of rows, bytes per row with its filter)
    for left, top, across, down in passes:
        columns, count = -(-(header.width - left) // across), -(-(header.height - top) // down)
        if columns > 0 and count > 0:
            rows.append((count, 1 + -(-columns * bits // 8)))
    size = sum(count * stride for count, stride in rows)
    parts = []
    for kind, begin, end in png_chunks(data):
        if kind == b'IDAT':
            if zlib.crc32(data[begin - 4 : end]) != int.from_bytes(data[end : end + 4], 'big'):
                raise ImageError(
                    UNDECODABLE,
                    f'its pixel data is damaged: a checksum at byte {end} does not match',
                )
            parts.append(data[begin:end])
    encoded = sum(map(len, parts))
    if encoded * _MAX_DEFLATE_RATIO < size:
        raise ImageError(
            TRUNCATED,
            f'{encoded:,} bytes cannot hold the {header.width}x{header.height} pixels its header '
            'claims',
        )
    try:
        inflater = zlib.decompressobj()
        inflated = inflater.decompress(b''.join(parts), size)
        inflater.decompress(inflater.unconsumed_tail, 1)  # to the checksum behind the last row
    except zlib.error as error:
        raise ImageError(UNDECODABLE, f'its pixel data is damaged ({error})') from None
    if len(inflated) < size:
        raise ImageError(
            TRUNCATED,
            f'it is cut off: {len(inflated):,} of the {size:,} bytes of its {header.height} rows '
            'are present',
        )
    begin = 0
    for count, stride in rows:
        end = begin + count * stride
        if max(inflated[begin:end:stride]) > 4:
            raise ImageError(UNDECODABLE, 'its pixel data is damaged: a row has an unknown filter')
        begin = end


def _decode_jpeg(data: bytes, header: ImageHeader) -> Image.Image:
    import simplejpeg
    from PIL import Image

    try:
        pixels = simplejpeg.decode_jpeg(
            data, 'CMYK' if header.channels == 4 else 'GRAY', strict=True
        )
    except ValueError as error:
        text = str(error)
        kind = TRUNCATED if 'premature end' in text.lower() else UNDECODABLE
        raise ImageError(kind, f'the decoder reports damage: {text}') from None
    mode = 'CMYK' if header.channels == 4 else 'L'
    return Image.frombuffer(mode, (header.width, header.height), pixels, 'raw', mode, 0, 1)


def _decode_png(data: bytes) -> Image.Image:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data), formats=('PNG',))
        image.load()
    # On damaged input Pillow's decoders raise almost anything.
    except Exception as error:  # noqa: BLE001
        raise ImageError(UNDECODABLE, f'the decoder reports damage: {plain(error)}') from None
    return image


def plain(error: Exception) -> str:
    """The message of an error of Pillow, without the object that it was reading."""
    text = str(error) or type(error).__name__
    return 'not an image of a known format' if '<_io.BytesIO' in text else text
