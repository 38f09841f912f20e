"""Encoded films that every reader of the project has to refuse, with the name of the problem that
it has to give.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from schemas import image_status

SIDE = 160


def film(side: int = SIDE, seed: int = 0) -> np.ndarray:
    """A smooth grey picture with some texture, uint8 [side, side], about 20..250."""
    noise = np.random.default_rng(seed).integers(0, 20, (side, side))
    return (np.linspace(20, 200, side)[None, :] + np.linspace(0, 30, side)[:, None] + noise).astype(
        np.uint8
    )


def encode(pixels: np.ndarray, kind: str = 'JPEG', mode: str | None = None, **options) -> bytes:
    """Encodes pixels with Pillow, converted to `mode` first."""
    image = Image.fromarray(pixels)
    out = io.BytesIO()
    (image.convert(mode) if mode else image).save(out, kind, **options)
    return out.getvalue()


def cut_and_closed(jpeg: bytes, share: float = 0.5) -> bytes:
    """A JPEG that ends within its pixel data, after `share` of it, with an end marker put
    behind.
    """
    start = jpeg.index(b'\xff\xda')
    return jpeg[: start + int((len(jpeg) - start) * share)] + b'\xff\xd9'


def without_last_scan(jpeg: bytes) -> bytes:
    """A progressive JPEG cut exactly between two scans, with an end marker put behind: a decoder
    has nothing to warn of.
    """
    return jpeg[: jpeg.rindex(b'\xff\xda')] + b'\xff\xd9'


def with_many_scans(jpeg: bytes, scans: int) -> bytes:
    """A progressive JPEG whose last scan is there `scans` times."""
    last = jpeg.rindex(b'\xff\xda')
    return jpeg[:last] + jpeg[last:-2] * scans + b'\xff\xd9'


def png(pixels: np.ndarray, rows: int | None = None, width: int | None = None) -> bytes:
    """An 8-bit grey PNG whose data holds `rows` rows, whatever its header says, with right
    checksums.
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
    """A JPEG whose frame header claims another size."""
    place = next(place for marker in (b'\xff\xc0', b'\xff\xc2') if (place := jpeg.find(marker)) > 0)
    return jpeg[: place + 5] + struct.pack('>HH', height, width) + jpeg[place + 9 :]


def turned(pixels: np.ndarray, orientation: int, kind: str = 'JPEG') -> bytes:
    """A film whose EXIF says that it has to be turned to be seen upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(pixels, kind, exif=exif)


def _flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


_FILM = film()
_JPEG = encode(_FILM, quality=90)
_PROGRESSIVE = encode(_FILM, quality=90, progressive=True)
_PNG = encode(_FILM, 'PNG')
_TRANSPARENT = np.dstack([_FILM] * 3 + [np.where(_FILM > 100, 255, 40).astype(np.uint8)])

# Found by looking at markers, chunks and the length of the pixel data; no pixel is decoded.
BY_HEADER = {
    'no image': (b'no image at all', image_status.UNDECODABLE),
    'GIF': (encode(_FILM, 'GIF'), image_status.UNDECODABLE),
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
    'PNG with fewer rows': (png(_FILM, rows=SIDE // 2), image_status.TRUNCATED),
    'PNG that claims 8000 columns': (png(_FILM, width=8000), image_status.TRUNCATED),
    'PNG with a flipped byte': (_flip(_PNG, len(_PNG) // 2), image_status.UNDECODABLE),
    'one pixel': (encode(_FILM[:1, :1]), image_status.TOO_SMALL),
    'JPEG of 20000x20000 pixels': (resized_header(_JPEG, 20_000, 20_000), image_status.TOO_LARGE),
    'progressive JPEG of many scans': (
        with_many_scans(_PROGRESSIVE, 200),
        image_status.UNSUPPORTED,
    ),
}

# Found by the decoder.
BY_DECODING = {
    'JPEG cut and closed': (cut_and_closed(_JPEG), image_status.TRUNCATED),
    'JPEG with its last rows cut and closed': (cut_and_closed(_JPEG, 0.99), image_status.TRUNCATED),
    'JPEG RGB cut and closed': (cut_and_closed(encode(_FILM, mode='RGB')), image_status.TRUNCATED),
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

# Whole images whose stored pixels are not what a viewer shows; `convert` makes films of them.
UNSUPPORTED = {
    'PNG of 16 bits': encode(_FILM.astype(np.uint16) * 257, 'PNG'),
    'PNG of 16 bits, 12 in use': encode(_FILM.astype(np.uint16) * 16, 'PNG'),
    'PNG of 1 bit': encode(_FILM, 'PNG', '1'),
    'PNG with a palette': encode(_FILM, 'PNG', 'P'),
    'PNG with alpha': encode(_TRANSPARENT, 'PNG'),
    'PNG grey with alpha': encode(_TRANSPARENT[:, :, 2:], 'PNG'),
    'PNG with a transparent grey level': encode(_FILM, 'PNG', transparency=7),
    'PNG lying on its side': turned(_FILM, 6, 'PNG'),
    'JPEG lying on its side': turned(_FILM, 6),
    'JPEG mirrored': turned(_FILM, 2),
    'JPEG CMYK': encode(_FILM, mode='CMYK'),
}

BLANK = {
    'JPEG of one grey level': encode(np.full_like(_FILM, 90)),
    'PNG of 12 grey levels': encode(_FILM // 21, 'PNG'),
    'black JPEG': encode(np.zeros_like(_FILM)),
}
