"""PNG files."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from serving.image_formats.error import UploadError

MAGIC = b'\x89PNG\r\n\x1a\n'
# The parts that say what the pixels are. Others are texts, times and profiles.
_CHUNKS = frozenset((b'IHDR', b'PLTE', b'IDAT', b'IEND', b'tRNS', b'gAMA', b'cHRM', b'sBIT'))


def size(content: bytes) -> tuple[int, int]:
    """Width and height by the header.

    Raises:
      UploadError: it has none.
    """
    if content[12:16] != b'IHDR' or len(content) < 24:
        raise UploadError('the PNG has no header')
    return struct.unpack('>II', content[16:24])


def without_metadata(content: bytes) -> bytes:
    """The file without texts, profiles and previews, and without what follows its end."""
    parts, position = [content[: len(MAGIC)]], len(MAGIC)
    while position + 8 <= len(content):
        name = content[position + 4 : position + 8]
        end = position + 12 + int.from_bytes(content[position : position + 4], 'big')
        if name in _CHUNKS:
            parts.append(content[position:end])
        if name == b'IEND':
            break
        position = end
    return b''.join(parts)


def encode(pixels: np.ndarray) -> bytes:
    """The PNG of uint8 [height, width]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, 'PNG', compress_level=1)
    return stream.getvalue()
