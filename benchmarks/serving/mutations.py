"""Uploads that are wrong in many ways, made from real files by a seeded generator."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from PIL import Image

from benchmarks import dicom
from benchmarks.serving import images

_PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
# Names as an attacker sends them; surrogates are bytes that are not UTF-8.
_NAMES = (
    '../../../etc/passwd',
    '/etc/passwd',
    'C:\\Windows\\win.ini',
    'a' * 5000,
    'x.png\0.exe',
    '<script>alert(1)</script>.png',
    "'; DROP TABLE study; --.dcm",
    'line\nbreak\r.png',
    '"quoted".png',
    '\u202egnp.exe',
    '\udcff\udcfe',
    '%00%2e%2e%2f',
    '${jndi:ldap://localhost/x}',
    '.',
    '',
)
_BIG = 20_000


@dataclass(frozen=True)
class BadUpload:
    """Files to send as one study.

    Attributes:
      what: how they were made.
      contents, names: of the files.
    """

    what: str
    contents: tuple[bytes, ...]
    names: tuple[str, ...]


def uploads(originals: Sequence[bytes], count: int, seed: int) -> Iterator[BadUpload]:
    """As many uploads as asked for; the same arguments give the same ones.

    The files that are made by hand come first, once each, and then changed originals.

    Args:
      originals: encoded images; they are changed as they are, as PNG and as DICOM.
      count: how many uploads.
      seed: of the generator.
    """
    numbers = random.Random(seed)
    grey = [images.pixels(content) for content in originals]
    sources = {
        'original': list(originals),
        'PNG': [images.png(pixels) for pixels in grey],
        'DICOM': [images.dicom(pixels) for pixels in grey],
        'DICOM 16': [images.dicom(pixels.astype(np.uint16) << 4) for pixels in grey],
        'DICOM RLE': [_compressed_dicom(pixels) for pixels in grey],
    }
    for name, syntax in dicom.SYNTAXES.items():
        sources[f'DICOM {name}, 16'] = [
            dicom.encoded(content, syntax) for content in sources['DICOM 16']
        ]
    made = list(_made_by_hand(grey[0]))
    for what, content in made[:count]:
        yield BadUpload(what, (content,), (numbers.choice(_NAMES),))
    for _ in range(count - len(made)):
        kind = numbers.choice(list(sources))
        source = numbers.choice(sources[kind])
        change = numbers.choice(CHANGES)
        content = change(source, numbers)
        contents = [content]
        # Sometimes beside a sound image, which must not be stored either.
        if numbers.random() < 0.1:
            contents.append(originals[0])
        names = tuple(numbers.choice(_NAMES) for _ in contents)
        yield BadUpload(f'{kind}: {change.__name__.strip("_")}', tuple(contents), names)


def _made_by_hand(grey: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """Bombs, other types, and headers that promise too much."""
    yield 'empty', b''
    yield 'one byte', b'\x89'
    yield 'a text', b'Sehr geehrte Damen und Herren\n' * 100
    yield 'a web page', b'<!doctype html><script>alert(1)</script>'
    yield 'an SVG', b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield 'a PDF', b'%PDF-1.7\n%\xe2\xe3\xcf\xd3\n' + bytes(1000)
    yield 'a program', b'\x7fELF\x02\x01\x01' + bytes(1000)
    yield 'a ZIP', _zip()
    yield 'a GIF', _encoded(grey, 'GIF')
    yield 'a TIFF', _encoded(grey, 'TIFF')
    yield 'a BMP', _encoded(grey, 'BMP')
    yield 'a WebP', _encoded(grey, 'WEBP')
    yield 'noise', np.random.default_rng(7).bytes(100_000)
    for magic in (_PNG_MAGIC, b'\xff\xd8\xff', bytes(128) + b'DICM'):
        yield 'nothing but a magic number', magic
        yield 'a magic number and noise', magic + np.random.default_rng(8).bytes(50_000)
        yield 'a magic number and zeros', magic + bytes(50_000)
    for side in (_BIG, 2**31 - 1):
        yield 'a PNG of a large side', _png(side, side, zlib.compress(b''))
        yield 'a PNG of a long side', _png(side, 1, zlib.compress(b''))
    # 400 million pixels in 50 kB, and 60 million, which is within the limit.
    yield 'a PNG bomb', _png(_BIG, _BIG, _zeros(_BIG * (_BIG // 8 + 1)), bits=1)
    yield 'a PNG of many pixels', _png(7000, 7000, _zeros(7000 * 7001))
    yield 'a PNG of 16 bits and many pixels', _png(7000, 7000, _zeros(7000 * 14001), bits=16)
    yield 'a PNG of colours and many pixels', _png(7000, 7000, _zeros(7000 * 28001), colour=6)
    yield 'a PNG with more rows than its header says', _png(600, 600, _zeros(1 << 28))
    yield 'a PNG with a text bomb', _png_with(grey, b'zTXt', b'Comment\0\0' + _zeros(1 << 28))
    yield 'a PNG with a profile bomb', _png_with(grey, b'iCCP', b'icc\0\0' + _zeros(1 << 28))
    yield 'a PNG with 100,000 chunks', _png_with(grey, b'tEXt', b'a\0b', 100_000)
    yield 'an animated PNG', _png_with(grey, b'acTL', struct.pack('>II', 1_000_000, 0))
    yield 'a JPEG of a large side', _jpeg_of_size(grey, _BIG, _BIG)
    yield 'a JPEG of the largest side', _jpeg_of_size(grey, 65_535, 65_535)
    yield 'a JPEG without height', _jpeg_of_size(grey, 600, 0)
    yield 'a progressive JPEG of many scans', _many_scans(grey)
    for rows, columns in ((_BIG, _BIG), (65_535, 65_535), (0, 0), (1, 1)):
        yield 'a DICOM file of another size', images.dicom(grey, Rows=rows, Columns=columns)
    yield 'a DICOM file of many frames', images.dicom(grey, NumberOfFrames=2**31 - 1)
    yield 'a DICOM file of colours', images.dicom(grey, PhotometricInterpretation='RGB')
    yield 'a DICOM file of 1 bit', images.dicom(grey, BitsAllocated=1, BitsStored=1)
    yield 'a DICOM file of 64 bits', images.dicom(grey, BitsAllocated=64, BitsStored=64)
    yield 'a DICOM file with an empty window', images.dicom(grey, WindowCenter=0, WindowWidth=0)
    yield 'a DICOM file with an endless slope', images.dicom(grey, RescaleSlope='1e300')
    for depth in (20, 300, 5000):
        yield f'a DICOM file of {depth} nested sequences', _nested_dicom(grey, depth)
    yield 'an RLE bomb', _compressed_dicom(grey, _BIG, _BIG)
    yield 'a deflated bomb', _deflated_bomb(grey)
    yield 'a DICOM file of a long sequence', _long_sequence(grey, 100_000)
    for number in (50_000, 120_000):
        yield f'a DICOM file of {number:,} elements', _many_elements(grey, number)


def _flip_bits(content: bytes, numbers: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(numbers.choice((1, 3, 30))):
        changed[numbers.randrange(len(changed))] ^= 1 << numbers.randrange(8)
    return bytes(changed)


def _change_head(content: bytes, numbers: random.Random) -> bytes:
    """Changes bytes among the first, where the sizes are."""
    changed = bytearray(content)
    for _ in range(numbers.choice((1, 2, 8))):
        changed[numbers.randrange(min(600, len(changed)))] = numbers.choice((0, 1, 127, 128, 255))
    return bytes(changed)


def _truncate(content: bytes, numbers: random.Random) -> bytes:
    return content[: numbers.randrange(len(content))]


def _remove_part(content: bytes, numbers: random.Random) -> bytes:
    start = numbers.randrange(len(content))
    return content[:start] + content[start + numbers.randrange(1, 2000) :]


def _repeat_part(content: bytes, numbers: random.Random) -> bytes:
    start = numbers.randrange(len(content))
    part = content[start : start + numbers.randrange(1, 2000)]
    return content[:start] + part * numbers.choice((2, 20)) + content[start:]


def _insert_noise(content: bytes, numbers: random.Random) -> bytes:
    start = numbers.randrange(len(content))
    return content[:start] + numbers.randbytes(numbers.choice((1, 4, 500))) + content[start:]


def _large_numbers(content: bytes, numbers: random.Random) -> bytes:
    """Writes a large length or size somewhere in the first bytes."""
    start = numbers.randrange(min(1000, len(content)))
    number = numbers.choice((b'\xff\xff\xff\xff', b'\x7f\xff\xff\xff', b'\x00\x00\x4e\x20'))
    return content[:start] + number + content[start + 4 :]


def _append(content: bytes, numbers: random.Random) -> bytes:
    return content + numbers.choice((b'<?php phpinfo(); ?>', _zip(), content, bytes(100_000)))


def _zero_part(content: bytes, numbers: random.Random) -> bytes:
    start = numbers.randrange(len(content))
    size = min(numbers.choice((8, 100, 5000)), len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


# What is done to a real file.
CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip_bits,
    _change_head,
    _truncate,
    _remove_part,
    _repeat_part,
    _insert_noise,
    _large_numbers,
    _append,
    _zero_part,
)


def _zeros(count: int) -> bytes:
    """A zlib stream of zeros, a thousandth of their size."""
    packer = zlib.compressobj(9)
    block, parts = bytes(1 << 20), []
    for start in range(0, count, len(block)):
        parts.append(packer.compress(block[: count - start]))
    return b''.join([*parts, packer.flush()])


def _chunk(name: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(name + content)
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', crc)


def _png(width: int, height: int, data: bytes, bits: int = 8, colour: int = 0) -> bytes:
    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    chunks = _chunk(b'IHDR', header) + _chunk(b'IDAT', data) + _chunk(b'IEND', b'')
    return _PNG_MAGIC + chunks


def _png_with(grey: np.ndarray, name: bytes, content: bytes, count: int = 1) -> bytes:
    """A sound PNG with more chunks after its header."""
    sound = images.png(grey)
    end = len(_PNG_MAGIC) + 25
    return sound[:end] + _chunk(name, content) * count + sound[end:]


def _jpeg_of_size(grey: np.ndarray, width: int, height: int) -> bytes:
    content = bytearray(images.jpeg(grey))
    start = content.index(b'\xff\xc0')
    content[start + 5 : start + 9] = struct.pack('>HH', height, width)
    return bytes(content)


def _many_scans(grey: np.ndarray) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, 'JPEG', progressive=True)
    content = stream.getvalue()
    scan = content[content.rindex(b'\xff\xda') : -2]
    return content[:-2] + scan * min(2000, (8 << 20) // len(scan)) + content[-2:]


def _compressed_dicom(grey: np.ndarray, rows: int = 0, columns: int = 0) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(images.dicom(grey)))
    dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    if rows:
        dataset.Rows, dataset.Columns = rows, columns
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def _nested_dicom(grey: np.ndarray, depth: int) -> bytes:
    """A DICOM file with sequences in sequences, each of which has no length but an end."""
    item = struct.pack('<HH2sHI', 0x0040, 0x0275, b'SQ', 0, 0xFFFFFFFF)
    item += struct.pack('<HHI', 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack('<HHIHHI', 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return _before_pixels(images.dicom(grey), item * depth + end * depth)


def _long_sequence(grey: np.ndarray, count: int) -> bytes:
    start = struct.pack('<HH2sHI', 0x0040, 0x0275, b'SQ', 0, 0xFFFFFFFF)
    item = struct.pack('<HHI', 0xFFFE, 0xE000, 0)
    end = struct.pack('<HHI', 0xFFFE, 0xE0DD, 0)
    return _before_pixels(images.dicom(grey), start + item * count + end)


def _many_elements(grey: np.ndarray, count: int) -> bytes:
    """A DICOM file with private elements before its pixels."""
    elements = [
        struct.pack('<HH2sH', 0x0041 + 2 * (n // 60_000), 0x1000 + n % 60_000, b'SH', 2) + b'x '
        for n in range(count)
    ]
    return _before_pixels(images.dicom(grey), b''.join(elements))


def _deflated_bomb(grey: np.ndarray) -> bytes:
    """A deflated DICOM file whose data set goes on for 256 MB."""
    dataset = pydicom.dcmread(io.BytesIO(images.dicom(grey)))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    stream = io.BytesIO()
    dataset.save_as(stream)
    content = stream.getvalue()
    length = int.from_bytes(content[140:144], 'little')
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return content[: 144 + length] + deflate.compress(bytes(1 << 28)) + deflate.flush()


def _before_pixels(content: bytes, elements: bytes) -> bytes:
    start = content.index(struct.pack('<HH', 0x7FE0, 0x0010))
    return content[:start] + elements + content[start:]


def _encoded(grey: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, kind)
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('../../x', bytes(1 << 20))
    return stream.getvalue()
