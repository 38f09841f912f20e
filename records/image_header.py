"""Reads the header of a JPEG or PNG. It decodes no pixel and allocates nothing of the image's size.

JPEG: ITU-T T.81, Annex B (markers and segments) and G.1 (progressive scans). PNG: W3C PNG
specification, sections 5 and 11 (chunks). EXIF: CIPA DC-008, section 4.6 (the orientation tag).

Why not Pillow: `Image.open` does not count the scans of a JPEG, does not notice scans or an end
marker that are missing, and reads the EXIF data of a PNG only by decoding it. It is also slower:
70 us against 23 us for an NIH JPEG, and 14 ms against 11 us for a PNG of 600x600 pixels.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.image_status import MAX_SCANS

JPEG = 'JPEG'
PNG = 'PNG'

_SOI = b'\xff\xd8'
_EOI = b'\xff\xd9'
_SOS = 0xDA
_APP1 = 0xE1
_EXIF = b'Exif\0\0'
_ORIENTATION = 0x0112
# Inside a scan, FF is followed by 00 or a restart marker; anything else begins a segment.
_NEXT_SEGMENT = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')
_COEFFICIENTS = 64
# Start-of-frame markers of the codings that libjpeg (TensorFlow, Pillow) decodes; the others it has
# to refuse.
_FRAMES = {0xC0: False, 0xC1: False, 0xC2: True}
_FOREIGN_FRAMES = {
    0xC3: 'lossless',
    **dict.fromkeys((0xC5, 0xC6, 0xC7), 'hierarchical'),
    **dict.fromkeys((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF), 'arithmetic-coded'),
}
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a segment: TEM, RST0..RST7
_FRAME = struct.Struct('>BHHB')  # precision, height, width, components

_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_IHDR = struct.Struct('>IIBBBBB')
# Channels after decoding (a palette holds RGB) and the bit depths the specification allows, by
# colour type.
_COLOURS = {
    0: (1, (1, 2, 4, 8, 16)),
    2: (3, (8, 16)),
    3: (3, (1, 2, 4, 8)),
    4: (2, (8, 16)),
    6: (4, (8, 16)),
}
_PALETTE, _ALPHA = 3, (4, 6)

# First bytes of other files that people put where an image should be, to name them in messages.
_OTHER_FORMATS = (
    (b'GIF8', 'a GIF'),
    (b'BM', 'a BMP'),
    (b'II*\0', 'a TIFF'),
    (b'MM\0*', 'a TIFF'),
    (b'RIFF', 'a RIFF file (WebP?)'),
    (b'\x1f\x8b', 'gzip data'),
    (b'\0\0\0\x0cjP', 'a JPEG 2000'),
    (b'%PDF', 'a PDF'),
)


class ImageHeaderError(ValueError):
    """Bytes that are not a usable image; the text says what they are and what was expected."""


@dataclass(frozen=True)
class ImageHeader:
    """The facts in the header of an image.

    Attributes:
      format: JPEG or PNG.
      width: columns, at least 1.
      height: rows, at least 1.
      channels: number after decoding, alpha included; 3 for an image with a palette.
      bit_depth: bits per channel: 8, or 12 (JPEG), or 1, 2, 4, 16 (PNG).
      complete: whether the end marker is present (JPEG: EOI; PNG: IEND) and, in a JPEG, the scans
        of all coefficients. If not, the image was cut off.
      progressive: progressive JPEG or interlaced PNG.
      palette: whether it is a PNG whose pixels index a palette.
      alpha: whether it is a PNG with an alpha channel or a transparent colour.
      orientation: EXIF orientation, 1 to 8; 1 is upright.
      scans: number of scans of a JPEG; 1 for a PNG.
    """

    format: str
    width: int
    height: int
    channels: int
    bit_depth: int
    complete: bool
    progressive: bool
    palette: bool = False
    alpha: bool = False
    orientation: int = 1
    scans: int = 1


def inspect(data: bytes) -> ImageHeader:
    """Reads the header of an encoded JPEG or PNG.

    It takes tens of microseconds, whatever size the image claims to have. A JPEG with several scans
    takes longer, because all of its segments are read.

    Raises:
      ImageHeaderError: `data` is not a JPEG or PNG, its header is damaged or cut off, a side is 0,
        or none of our decoders reads its coding.
    """
    if data[:3] == b'\xff\xd8\xff':
        return _jpeg(data)
    if data[:8] == _PNG_SIGNATURE:
        return _png(data)
    raise ImageHeaderError(f'not a JPEG or PNG: {_format_of(data)}')


def _format_of(data: bytes) -> str:
    if not data:
        return 'it is empty'
    for magic, name in _OTHER_FORMATS:
        if data.startswith(magic):
            return f'it is {name}'
    if data[128:132] == b'DICM':
        return 'it is a DICOM file'
    return f'it begins with the bytes {data[:8].hex(" ")}'


def _jpeg(data: bytes) -> ImageHeader:
    place, frame, progressive, orientation = len(_SOI), None, False, 1
    while True:
        marker, place = _marker(data, place)
        if marker in _ALONE:
            continue
        if marker in _FOREIGN_FRAMES:
            raise ImageHeaderError(
                f'a {_FOREIGN_FRAMES[marker]} JPEG, which libjpeg does not decode: expected '
                'baseline or progressive'
            )
        length = int.from_bytes(data[place : place + 2], 'big')
        if length < 2 or place + length > len(data):
            raise ImageHeaderError(
                f'the JPEG header is damaged or cut off: segment FF{marker:02X} at byte {place} '
                'does not fit'
            )
        if marker in _FRAMES:
            if length < 2 + _FRAME.size:
                raise ImageHeaderError(
                    f'the JPEG header is damaged: its frame segment is {length} bytes long'
                )
            frame, progressive = data[place + 2 : place + length], _FRAMES[marker]
        if marker == _APP1 and data.startswith(_EXIF, place + 2):
            orientation = _orientation(data[place + 2 + len(_EXIF) : place + length])
        if marker == _SOS:
            break
        place += length
    if frame is None:
        raise ImageHeaderError('the JPEG has a scan but no frame header, so its size is unknown')
    precision, height, width, components = _FRAME.unpack_from(frame)
    _check_sides(width, height, JPEG)
    scans, covered = _scans(data, place, frame[_FRAME.size :: 3][:components], progressive)
    # Inside a scan FF is always followed by 00 or a restart marker, so FFD9 behind the first scan
    # header is the end marker.
    complete = covered and data.rfind(_EOI, place) >= 0
    return ImageHeader(
        JPEG,
        width,
        height,
        components,
        precision,
        complete,
        progressive,
        orientation=orientation,
        scans=scans,
    )


def _scans(data: bytes, place: int, components: bytes, progressive: bool) -> tuple[int, bool]:
    """Counts the scans from the scan header at `place` on, and checks that they hold all bits.

    The count stops one above MAX_SCANS. A progressive JPEG that was cut off between two scans
    decodes without a warning, only less sharp: the lowest bit of some coefficients (Al of 0) never
    arrives.
    """
    scans = 0
    missing: dict[int, set[int]] = {}
    while True:
        scans += 1
        length = int.from_bytes(data[place : place + 2], 'big')
        header = data[place + 2 : place + length]
        selected = header[1:-3:2]
        if not progressive and selected == components:
            return scans, True  # libjpeg reads no further scan of such an image
        missing = missing or {component: set(range(_COEFFICIENTS)) for component in components}
        if len(header) >= 4 and not header[-1] & 15:
            for component in selected:
                missing.get(component, set()).difference_update(range(header[-3], header[-2] + 1))
        place = _next_scan(data, place + length)
        if not place or scans > MAX_SCANS:
            return scans, not any(missing.values())


def _next_scan(data: bytes, place: int) -> int:
    """The start of the next scan header after the scan at `place`; 0 if there is none."""
    while match := _NEXT_SEGMENT.search(data, place):
        place = match.end()
        marker = data[place - 1]
        if marker == _SOS:
            return place
        if marker == _EOI[1]:
            return 0
        place += int.from_bytes(data[place : place + 2], 'big')
    return 0


def _orientation(exif: bytes) -> int:
    """The EXIF orientation; 1 where there is none, or none that can be read."""
    order = {b'II': '<', b'MM': '>'}.get(exif[:2], '')
    try:
        (start,) = struct.unpack_from(f'{order}I', exif, 4)
        (entries,) = struct.unpack_from(f'{order}H', exif, start)
        for entry in range(entries if order else 0):
            tag, _, _, value = struct.unpack_from(f'{order}HHIH', exif, start + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _marker(data: bytes, place: int) -> tuple[int, int]:
    """The marker at `place` and the start of its segment; any number of FF may precede it."""
    if data[place : place + 1] not in (b'\xff', b''):
        raise ImageHeaderError(
            f'the JPEG header is damaged: byte {place} is {data[place]:#04x} where a marker '
            '(0xff) was expected'
        )
    while data[place : place + 1] == b'\xff':
        place += 1
    if place >= len(data):
        raise ImageHeaderError(
            f'the JPEG header is cut off: the {len(data)} bytes end before the first scan'
        )
    marker = data[place]
    if marker in (0x00, 0xD8, 0xD9):
        raise ImageHeaderError(
            f'the JPEG header is damaged: marker FF{marker:02X} at byte {place - 1} before the '
            'first scan'
        )
    return marker, place + 1


def _png(data: bytes) -> ImageHeader:
    begin, end = len(_PNG_SIGNATURE) + 8, len(_PNG_SIGNATURE) + 8 + _IHDR.size
    if len(data) < end + 4:
        raise ImageHeaderError(f'the PNG header is cut off: {len(data)} bytes')
    if data[begin - 8 : begin] != b'\0\0\0\x0dIHDR' or zlib.crc32(
        data[begin - 4 : end]
    ) != int.from_bytes(data[end : end + 4], 'big'):
        raise ImageHeaderError(
            'the PNG header is damaged: the first chunk is not an IHDR with a matching checksum'
        )
    width, height, bit_depth, colour, compression, filtering, interlace = _IHDR.unpack_from(
        data, begin
    )
    channels, depths = _COLOURS.get(colour, (0, ()))
    if bit_depth not in depths or compression or filtering or interlace > 1:
        raise ImageHeaderError(
            f'the PNG header is not valid: colour type {colour}, bit depth {bit_depth}, '
            f'compression {compression}, '
            f'filter {filtering}, interlace {interlace}'
        )
    _check_sides(width, height, PNG)
    chunks = list(png_chunks(data))
    kinds = [kind for kind, _, _ in chunks]
    complete = kinds[-1] == b'IEND' and b'IDAT' in kinds
    exif = next((data[begin:end] for kind, begin, end in chunks if kind == b'eXIf'), b'')
    return ImageHeader(
        PNG,
        width,
        height,
        channels,
        bit_depth,
        complete,
        bool(interlace),
        palette=colour == _PALETTE,
        alpha=colour in _ALPHA or b'tRNS' in kinds,
        orientation=_orientation(exif),
    )


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields the kind, start and end of each complete chunk of a PNG, up to and including IEND."""
    place = len(_PNG_SIGNATURE)
    while place + 12 <= len(data):
        kind = data[place + 4 : place + 8]
        begin = place + 8
        place = begin + int.from_bytes(data[place : place + 4], 'big') + 4
        if place > len(data):
            return
        yield kind, begin, place - 4
        if kind == b'IEND':
            return


def _check_sides(width: int, height: int, kind: str) -> None:
    if not width or not height:
        raise ImageHeaderError(f'the {kind} header gives a size of {width}x{height} pixels')
