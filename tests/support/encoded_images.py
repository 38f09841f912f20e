"""Encoded images for tests: small images of every kind, and headers with arbitrary claims."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def pixels(height: int = 80, width: int = 90, seed: int = 0) -> np.ndarray:
    """A smooth grey image with some texture, uint8 [height, width]."""
    noise = np.random.default_rng(seed).integers(0, 20, (height, width))
    slope = np.linspace(20, 200, width)[None, :] + np.linspace(0, 30, height)[:, None]
    return (slope + noise).astype(np.uint8)


def encode(array: np.ndarray, kind: str = 'JPEG', mode: str | None = None, **options) -> bytes:
    """Encodes an array with Pillow, after a conversion to `mode`."""
    image = Image.fromarray(array)
    out = io.BytesIO()
    (image.convert(mode) if mode else image).save(out, kind, **options)
    return out.getvalue()


def jpeg_header(
    width: int,
    height: int,
    frame: int = 0xC0,
    precision: int = 8,
    components: int = 1,
    size: int = 1,
) -> bytes:
    """A JPEG with these claims in its headers, and `size` bytes that are not valid pixel data."""
    body = b''.join(bytes((number, 0x11, 0)) for number in range(1, components + 1))
    sof = struct.pack('>BHHB', precision, height, width, components) + body
    sos = bytes((1, 1, 0, 0, 63, 0))
    segments = [(frame, sof), (0xDA, sos)]
    return (
        b'\xff\xd8'
        + b''.join(
            b'\xff%c' % marker + struct.pack('>H', len(data) + 2) + data
            for marker, data in segments
        )
        + b'\x12' * size
        + b'\xff\xd9'
    )


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png_header(
    width: int, height: int, depth: int = 8, colour: int = 0, interlace: int = 0
) -> bytes:
    """A PNG with these claims in its header and no pixels."""
    ihdr = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, interlace)
    chunks = ((b'IHDR', ihdr), (b'IDAT', zlib.compress(b'\0')), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(png_chunk(kind, data) for kind, data in chunks)
