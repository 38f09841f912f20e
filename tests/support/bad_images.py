"""Encoded images that every reader of the project has to refuse, with the expected image status."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

from schemas import image_status
from tests.support import encoded_images
from tests.support.encoded_images import encode

SIDE = 160


def cut_and_closed(jpeg: bytes, share: float = 0.5) -> bytes:
    """Cuts a JPEG after `share` of its pixel data and adds an end marker."""
    start = jpeg.index(b'\xff\xda')
    return jpeg[: start + int((len(jpeg) - start) * share)] + b'\xff\xd9'


def without_last_scan(jpeg: bytes) -> bytes:
    """Cuts a progressive JPEG between two scans and adds an end marker.

    A decoder sees nothing to warn about.
    """
    return jpeg[: jpeg.rindex(b'\xff\xda')] + b'\xff\xd9'


def with_many_scans(jpeg: bytes, scans: int) -> bytes:
    """Repeats the last scan of a progressive JPEG `scans` times."""
    last = jpeg.rindex(b'\xff\xda')
    return jpeg[:last] + jpeg[last:-2] * scans + b'\xff\xd9'


def png(pixels: np.ndarray, rows: int | None = None, width: int | None = None) -> bytes:
    """Encodes an 8-bit grey PNG with correct checksums.

    Args:
      pixels: uint8 [height, width].
      rows: how many rows the data holds; the header says `height`.
      width: the width in the header, if it differs from that of the pixels.
    """
    height = len(pixels)
    data = b''.join(b'\0' + row.tobytes() for row in pixels[:rows])
    ihdr = struct.pack('>IIBBBBB', width or pixels.shape[1], height, 8, 0, 0, 0, 0)
    chunks = ((b'IHDR', ihdr), (b'IDAT', zlib.compress(data)), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
        for kind, body in chunks
    )


def resized_header(jpeg: bytes, width: int, height: int) -> bytes:
    """Writes another size into the frame header of a JPEG."""
    place = next(place for marker in (b'\xff\xc0', b'\xff\xc2') if (place := jpeg.find(marker)) > 0)
    return jpeg[: place + 5] + struct.pack('>HH', height, width) + jpeg[place + 9 :]


def turned(pixels: np.ndarray, orientation: int, kind: str = 'JPEG') -> bytes:
    """Encodes an image whose EXIF data says that a viewer has to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(pixels, kind, exif=exif)


def _flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


PIXELS = encoded_images.pixels(SIDE, SIDE)
_JPEG = encode(PIXELS, quality=90)
_PROGRESSIVE = encode(PIXELS, quality=90, progressive=True)
_PNG = encode(PIXELS, 'PNG')
_TRANSPARENT = np.dstack([PIXELS] * 3 + [np.where(PIXELS > 100, 255, 40).astype(np.uint8)])

# The markers, the chunks or the length of the pixel data give these away; no pixel is decoded.
BY_HEADER = {
    'no image': (b'no image at all', image_status.UNDECODABLE),
    'GIF': (encode(PIXELS, 'GIF'), image_status.UNDECODABLE),
    'header cut': (_JPEG[:100], image_status.UNDECODABLE),
    'JPEG without its end': (_JPEG[:-300], image_status.TRUNCATED),
    'progressive JPEG without its last scan': (
        without_last_scan(_PROGRESSIVE),
        image_status.TRUNCATED,
    ),
    'JPEG that claims 8000x8000 pixels': (
        resized_header(_JPEG, 8000, 8000),
        image_status.TRUNCATED,
    ),
    'PNG without its end': (_PNG[:-40], image_status.TRUNCATED),
    'PNG with fewer rows': (png(PIXELS, rows=SIDE // 2), image_status.TRUNCATED),
    'PNG that claims 8000 columns': (png(PIXELS, width=8000), image_status.TRUNCATED),
    'PNG with a flipped byte': (_flip(_PNG, len(_PNG) // 2), image_status.UNDECODABLE),
    'one pixel': (encode(PIXELS[:1, :1]), image_status.TOO_SMALL),
    'JPEG of 20000x20000 pixels': (resized_header(_JPEG, 20_000, 20_000), image_status.TOO_LARGE),
    'progressive JPEG of many scans': (
        with_many_scans(_PROGRESSIVE, 200),
        image_status.UNSUPPORTED,
    ),
}

# Only the decoder finds these.
BY_DECODING = {
    'JPEG cut and closed': (cut_and_closed(_JPEG), image_status.TRUNCATED),
    'JPEG with its last rows cut and closed': (cut_and_closed(_JPEG, 0.99), image_status.TRUNCATED),
    'JPEG RGB cut and closed': (cut_and_closed(encode(PIXELS, mode='RGB')), image_status.TRUNCATED),
    'progressive JPEG cut and closed': (cut_and_closed(_PROGRESSIVE), image_status.TRUNCATED),
    'progressive JPEG cut late and closed': (
        cut_and_closed(_PROGRESSIVE, 0.95),
        image_status.TRUNCATED,
    ),
    'JPEG with a hole': (
        _JPEG[: len(_JPEG) // 2] + _JPEG[len(_JPEG) // 2 + 500 :],
        image_status.TRUNCATED,
    ),
}

# Undamaged images whose stored pixels are not what a viewer shows; `convert` makes them usable.
UNSUPPORTED = {
    'PNG of 16 bits': encode(PIXELS.astype(np.uint16) * 257, 'PNG'),
    'PNG of 16 bits, 12 in use': encode(PIXELS.astype(np.uint16) * 16, 'PNG'),
    'PNG of 1 bit': encode(PIXELS, 'PNG', '1'),
    'PNG with a palette': encode(PIXELS, 'PNG', 'P'),
    'PNG with alpha': encode(_TRANSPARENT, 'PNG'),
    'PNG grey with alpha': encode(_TRANSPARENT[:, :, 2:], 'PNG'),
    'PNG with a transparent grey level': encode(PIXELS, 'PNG', transparency=7),
    'PNG lying on its side': turned(PIXELS, 6, 'PNG'),
    'JPEG lying on its side': turned(PIXELS, 6),
    'JPEG mirrored': turned(PIXELS, 2),
    'JPEG CMYK': encode(PIXELS, mode='CMYK'),
}

BLANK = {
    'JPEG of one grey level': encode(np.full_like(PIXELS, 90)),
    'PNG of 12 grey levels': encode(PIXELS // 21, 'PNG'),
    'black JPEG': encode(np.zeros_like(PIXELS)),
}
