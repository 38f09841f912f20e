"""Images that no model can assess, with the status that each must get. No TensorFlow here."""

from __future__ import annotations

import struct
import zlib

from schemas import image_status

_SCAN, _END = b'\xff\xda', b'\xff\xd9'
_SIDE = image_status.MIN_SIDE


def examples(image: bytes) -> dict[str, tuple[bytes, str]]:
    """Makes one image of each kind.

    Args:
      image: a good image as a JPEG; the truncated ones are parts of it.

    Returns:
      Description -> the encoded image and the expected status, a name of `schemas.image_status`.

    Raises:
      ValueError: `image` is not a JPEG.
    """
    scan = image.index(_SCAN)
    half = image[: scan + (len(image) - scan) // 2]
    return {
        'text instead of an image': (b'not an image', image_status.UNDECODABLE),
        'no bytes': (b'', image_status.UNDECODABLE),
        'half an image': (half, image_status.TRUNCATED),
        'half an image with an end marker': (half + _END, image_status.TRUNCATED),
        'a PNG of 20,000 x 20,000 pixels': (_black_png(20_000, rows=0), image_status.TOO_LARGE),
        'a PNG of one pixel': (_black_png(1), image_status.TOO_SMALL),
        'a black image': (_black_png(_SIDE), image_status.BLANK),
        'a 16-bit PNG': (_black_png(_SIDE, bits=16), image_status.UNSUPPORTED),
    }


def _black_png(side: int, bits: int = 8, rows: int | None = None) -> bytes:
    """A square grey PNG of zeros; `rows` sets a number of rows that differs from the header's."""
    row = b'\0' * (1 + side * bits // 8)
    header = struct.pack('>IIBBBBB', side, side, bits, 0, 0, 0, 0)
    pixels = zlib.compress(row * (side if rows is None else rows))
    chunks = ((b'IHDR', header), (b'IDAT', pixels), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack('>I', len(content))
        + kind
        + content
        + struct.pack('>I', zlib.crc32(kind + content))
    )
