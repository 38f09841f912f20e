"""Reads size and depth from the header of compressed pixels, before anything is decoded.

The attributes of a file and its compressed pixels may disagree. A decoder believes the latter, and
a small file can claim gigabytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from records.dicom.error import damaged

JPEG, JPEG_LOSSLESS, JPEG_LS, JPEG_2000 = 'JPEG', 'JPEG Lossless', 'JPEG-LS', 'JPEG 2000'
_START, _END = b'\xff\xd8', b'\xff\xd9'
_J2K_START = b'\xff\x4f\xff\x51'
# JP2 is not allowed in DICOM, but some files have its boxes around the codestream.
_JP2, _MAX_BOXES = b'\0\0\0\x0cjP  ', 4096
_MAX_TILES = 65_535
_FRAME_MARKERS = {
    **dict.fromkeys((0xC0, 0xC1, 0xC2), JPEG),
    0xC3: JPEG_LOSSLESS,
    0xF7: JPEG_LS,
}
_OTHER_FRAME_MARKERS = frozenset(range(0xC5, 0xD0)) - {0xC8, 0xCC}
_SCAN = 0xDA


@dataclass(frozen=True)
class Codestream:
    """What a compressed image says about itself.

    Attributes:
      kind: JPEG, JPEG_LOSSLESS, JPEG_LS or JPEG_2000.
      width, height: pixels.
      bits: of a sample.
      channels: samples of a pixel.
      content: the image, without padding.
    """

    kind: str
    width: int
    height: int
    bits: int
    channels: int
    content: bytes


def inspect(frame: bytes) -> Codestream:
    """Reads the header of an encoded frame.

    Raises:
      DicomError: it has none, or its end is missing.
    """
    if frame.startswith(_JP2):
        frame = frame[max(frame.find(_J2K_START, 0, _MAX_BOXES), 0) :]
    # Frames are padded to an even length, some with more.
    end = frame.rstrip(b'\0\xff')
    if not frame.startswith((_START, _J2K_START)):
        raise damaged('the compressed pixels have no JPEG, JPEG-LS or JPEG 2000 header')
    if not end.endswith(_END):
        raise damaged('the compressed pixels are cut off: their end is missing')
    return _jpeg_2000(end) if frame.startswith(_J2K_START) else _jpeg(end)


def _jpeg(frame: bytes) -> Codestream:
    position = len(_START)
    while position + 10 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if kind := _FRAME_MARKERS.get(marker):
            height, width = (_number(frame, position + at, 2) for at in (5, 7))
            return Codestream(kind, width, height, frame[position + 4], frame[position + 9], frame)
        if marker == _SCAN or marker in _OTHER_FRAME_MARKERS:
            break
        position += 2 + max(_number(frame, position + 2, 2), 2)
    raise damaged('the compressed pixels have a JPEG header of an unknown kind')


def _jpeg_2000(frame: bytes) -> Codestream:
    if len(frame) < 43:
        raise damaged('the compressed pixels have a damaged JPEG 2000 header')
    right, bottom, left, top, *tiles = (_number(frame, at, 4) for at in range(8, 40, 4))
    tile_width, tile_height, tile_left, tile_top = tiles
    if not tile_width or not tile_height or left > right or top > bottom:
        raise damaged('the compressed pixels have a damaged JPEG 2000 header')
    count = math.ceil((right - tile_left) / tile_width) * math.ceil(
        (bottom - tile_top) / tile_height
    )
    if not 0 < count <= _MAX_TILES:
        raise damaged('the compressed pixels have a damaged JPEG 2000 header')
    bits = (frame[42] & 0x7F) + 1
    return Codestream(JPEG_2000, right - left, bottom - top, bits, _number(frame, 40, 2), frame)


def _number(data: bytes, position: int, length: int) -> int:
    return int.from_bytes(data[position : position + length], 'big')
