"""Reads and writes TFRecord files. The reader reports every damaged stretch and continues after it.

TensorFlow's reader stops at the first damaged record and does not say where it is. The format
(https://www.tensorflow.org/tutorials/load_data/tfrecord): uint64 length, uint32 masked CRC-32C of
the length, the payload, uint32 masked CRC-32C of the payload; little-endian. No TensorFlow here
unless a path is on an object store.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol

import google_crc32c

import storage

# The reason of the Damage that an empty file yields; an empty split of TFX is such a file.
EMPTY = 'the file is empty'
_HEADER = struct.Struct('<QI')
_CRC = struct.Struct('<I')
_READ_BYTES = 1 << 22
# No X-ray record comes near this size. A longer one has a damaged length that happens to match its
# checksum.
_MAX_RECORD_BYTES = 1 << 30
# Only the start of a longer stretch without a record is stored: a stray file of many GB must not
# fill the memory.
_MAX_DAMAGE_BYTES = 1 << 24
_GZIP_MAGIC = b'\x1f\x8b'
# Encoded images hardly shrink. A small file that unzips to gigabytes is not a set of images, and
# searching it takes minutes.
_MAX_RATIO = 20
_FREE_BYTES = 1 << 26
_ZIPPED_READ_BYTES = 1 << 16
# The upper half of the length field of any record up to _MAX_RECORD_BYTES.
_ZEROS = bytes(4)
_RUN_OF_ZEROS = re.compile(rb'\x00+')
_SHARD_NAME = re.compile(r'^.*?(\d+)-(\d+)\.tfrec(ords?)?(\.gz)?$', re.IGNORECASE)


@dataclass(frozen=True)
class Record:
    """An undamaged record.

    Attributes:
      index: number in the file, from 0.
      offset: the byte where its header starts, after unzipping.
      payload: its content.
    """

    index: int
    offset: int
    payload: bytes


@dataclass(frozen=True)
class Damage:
    """A stretch of a file without a readable record; attributes as in Record.

    Attributes:
      length: bytes.
      reason: what is wrong.
      payload: the part that could be read: maybe nothing, and at most 16 MiB where no header gives
        the length.
    """

    index: int
    offset: int
    length: int
    reason: str
    payload: bytes = b''


def masked_crc(data: bytes) -> int:
    """CRC-32C of `data`, rotated and offset as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """One TFRecord with its header and checksums around `payload`."""
    length = struct.pack('<Q', len(payload))
    return b''.join(
        (length, _CRC.pack(masked_crc(length)), payload, _CRC.pack(masked_crc(payload)))
    )


def promised_count(path: str) -> int | None:
    """The number of records in a file name of the form `NNN-COUNT.tfrec`; None for other names."""
    match = _SHARD_NAME.match(PurePosixPath(path).name)
    return int(match.group(2)) if match else None


def open_binary(path: str) -> io.BufferedReader:
    """Opens a file for reading bytes: local, or on an object store through TensorFlow.

    Raises:
      OSError: the file cannot be opened, or is a FIFO, a device or a socket, which may never end.
    """
    if not storage.is_remote(path):
        mode = os.stat(path).st_mode
        # `open` has a better message for a folder.
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.EINVAL, 'not a regular file', path)
    return storage.open_binary(path)


def read(path: str) -> Iterator[Record | Damage]:
    """Yields the records and damaged stretches of a TFRecord file in order.

    The file is plain or gzip, by its first bytes and not by its name. Every byte (after unzipping)
    belongs to exactly one item. After a wrong length or checksum, the reader continues at the next
    header with a matching checksum, so a flipped byte or a hole in the file costs only the records
    that it touches. Of a gzip file that is cut off, the reader yields everything that can be
    unzipped.

    Example:
        >>> sum(isinstance(item, Record) for item in read('data/000-122.tfrec'))
        122

    Raises:
      OSError: the file cannot be opened.
    """
    with open_binary(path) as raw:
        magic = raw.read(2)
        raw.seek(0)
        yield from _records(_Window(_Gunzip(raw) if magic == _GZIP_MAGIC else raw))


class _Stream(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class _BrokenError(Exception):
    """A compressed stream that cannot be unzipped further."""


class _Gunzip:
    """Unzips a stream up to the byte where it breaks; gzip.GzipFile would lose its last chunk."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj(wbits=31)
        self._bytes_in = 0  # compressed
        self._bytes_out = 0  # unzipped
        self._reason = ''

    def read1(self, _: int) -> bytes:
        """The next bytes; b'' at the end.

        Raises:
          _BrokenError: the stream breaks here; everything before has been returned.
        """
        if self._reason:
            raise _BrokenError(self._reason)
        plain = b''
        while not plain and not self._reason:
            data = self._compressed()
            if not data:
                return b''
            plain = self._unzip(data)
        if not plain:
            raise _BrokenError(self._reason)
        return plain

    def _compressed(self) -> bytes:
        """The next compressed bytes; b'' at the end. A new member gets a new decompressor."""
        data = self._inflate.unused_data or self._stream.read(_ZIPPED_READ_BYTES)
        if not self._inflate.eof:
            if not data:
                raise _BrokenError(
                    f'it ends after {self._bytes_in} compressed bytes, before its end marker'
                )
            return data
        while data and not data.strip(b'\0'):  # padding between and after members
            data = self._stream.read(_ZIPPED_READ_BYTES)
        if data:
            self._inflate = zlib.decompressobj(wbits=31)
        return data.lstrip(b'\0')

    def _unzip(self, data: bytes) -> bytes:
        before = self._inflate.copy()
        try:
            plain = self._inflate.decompress(data)
            self._bytes_in += len(data) - len(self._inflate.unused_data)
            self._bytes_out += len(plain)
            if self._bytes_out > max(_FREE_BYTES, _MAX_RATIO * self._bytes_in):
                self._reason = (
                    f'{self._bytes_in} compressed bytes unzip to more than {self._bytes_out}: '
                    'encoded images do not shrink that much'
                )
            return plain
        except zlib.error as error:
            output = bytearray()
            for at in range(len(data)):
                try:
                    output += before.decompress(data[at : at + 1])
                except zlib.error:
                    self._reason = f'after {self._bytes_in + at} compressed bytes, {error}'
                    break
            return bytes(output)


class _Window:
    """The unread part of a stream that has been loaded."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._ended = False
        self.start = 0  # offset in the stream of buffer[0]
        self.buffer = bytearray()
        self.error = ''  # why the stream ended early
        self.error_reported = False  # whether a Damage says so

    def fill(self, size: int) -> bool:
        """Loads at least `size` bytes; False if the stream ends before."""
        while len(self.buffer) < size and not self._ended:
            try:
                chunk = self._stream.read1(_READ_BYTES)
            except _BrokenError as error:
                chunk, self.error = b'', f'the compressed stream is cut off or damaged: {error}'
            except OSError as error:
                chunk, self.error = b'', f'the file cannot be read further: {error}'
            if not chunk:
                self._ended = True
            self.buffer += chunk
        return len(self.buffer) >= size

    def skip(self, size: int) -> None:
        del self.buffer[:size]
        self.start += size


def _records(window: _Window) -> Iterator[Record | Damage]:
    index = 0
    while window.fill(1):
        yield _next(window, index)
        index += 1
    if window.error and not window.error_reported:
        yield Damage(index, window.start, 0, window.error)
    elif index == 0:
        yield Damage(0, 0, 0, EMPTY)


def _next(window: _Window, index: int) -> Record | Damage:
    offset, buffer = window.start, window.buffer
    if not window.fill(_HEADER.size):
        return _damage(
            window,
            index,
            len(buffer),
            f'{len(buffer)} bytes are left, and a record header has {_HEADER.size}',
        )
    length, crc = _HEADER.unpack_from(buffer)
    if masked_crc(bytes(buffer[:8])) != crc or length > _MAX_RECORD_BYTES:
        return _resync(window, index)
    size = _HEADER.size + length + _CRC.size
    if not window.fill(size):
        reason = f'the file ends inside this record: {size} bytes expected, {len(buffer)} left'
        return _damage(window, index, _to_header(window, len(buffer)), reason)
    payload = bytes(buffer[_HEADER.size : size - _CRC.size])
    (payload_crc,) = _CRC.unpack_from(buffer, size - _CRC.size)
    if masked_crc(payload) == payload_crc:
        window.skip(size)
        return Record(index, offset, payload)
    return _damage(
        window,
        index,
        _to_header(window, size),
        'the checksum (CRC-32C) of the payload does not match',
    )


def _to_header(window: _Window, size: int) -> int:
    """The damaged record has `size` bytes, or fewer if the next record starts in them."""
    window.fill(size + _HEADER.size)
    if size + _HEADER.size <= len(window.buffer) and _is_header(window.buffer, size):
        return size
    place = _find_header(window.buffer, _HEADER.size)
    return size if place is None or place > size else place


def _damage(window: _Window, index: int, size: int, reason: str) -> Damage:
    """Takes `size` bytes out of the window, which start with a header or a part of one."""
    offset, end = window.start, size
    if size >= _HEADER.size:
        end = min(size, _HEADER.size + _HEADER.unpack_from(window.buffer)[0])
    payload = bytes(window.buffer[_HEADER.size : end])
    window.skip(size)
    if window.error and not window.buffer:
        window.error_reported = True
        reason = f'{reason}; {window.error}'
    return Damage(index, offset, size, reason, payload)


def _resync(window: _Window, index: int) -> Damage:
    """Skips to the next header with a matching checksum, or to the end."""
    offset, begin, payload = window.start, 1, bytearray()
    while window.fill(begin + _HEADER.size):
        place = _find_header(window.buffer, begin)
        # Without one, the last bytes may still be the start of a header.
        size = len(window.buffer) - _HEADER.size + 1 if place is None else place
        _move(window, size, payload)
        begin = 0
        if place is not None:
            break
    else:
        _move(window, len(window.buffer), payload)
    reason = 'the checksum (CRC-32C) of the record header does not match'
    if window.error and not window.buffer:
        window.error_reported = True
        reason = f'{reason}; {window.error}'
    return Damage(index, offset, window.start - offset, reason, bytes(payload))


def _move(window: _Window, size: int, payload: bytearray) -> None:
    """Moves `size` bytes from the window to `payload`, which has at most _MAX_DAMAGE_BYTES."""
    payload += window.buffer[: min(size, _MAX_DAMAGE_BYTES - len(payload))]
    window.skip(size)


def _find_header(buffer: bytearray, begin: int) -> int | None:
    """The first place, from `begin` on, of a record header with a matching checksum.

    A length below 2**32 ends in four zero bytes, which are rare in compressed images, so only
    places before a run of zeros are checked. Inside a run the length would be 0, and the header of
    an empty record is a fixed pattern.
    """
    empty = buffer.find(_EMPTY_HEADER, begin)
    zeros = buffer.find(_ZEROS, begin + 1)
    while zeros >= 0 and not 0 <= empty <= zeros - 4:
        end = _RUN_OF_ZEROS.match(buffer, zeros).end()  # type: ignore[union-attr]
        for place in range(max(begin, zeros - 4), min(zeros, end - 7)):
            if _is_header(buffer, place):
                return place if empty < 0 else min(place, empty)
        zeros = buffer.find(_ZEROS, end)
    return empty if empty >= 0 else None


def _is_header(buffer: bytearray, place: int) -> bool:
    if place + _HEADER.size > len(buffer):
        return False
    length, crc = _HEADER.unpack_from(buffer, place)
    return length <= _MAX_RECORD_BYTES and masked_crc(bytes(buffer[place : place + 8])) == crc


_EMPTY_HEADER = frame(b'')[: _HEADER.size]
