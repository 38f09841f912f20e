"""Reads TFRecord files record by record, names every damaged stretch and goes on behind it; writes them too.

TensorFlow's own reader stops at the first damaged record and cannot say where it was. The format
(https://www.tensorflow.org/tutorials/load_data/tfrecord): uint64 length, uint32 masked CRC-32C of the length, the payload, uint32
masked CRC-32C of the payload; little-endian. No TensorFlow here unless a path is on an object store.
"""

from __future__ import annotations

import gzip
import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

import google_crc32c

_HEADER = struct.Struct('<QI')
_CRC = struct.Struct('<I')
_READ_BYTES = 1 << 22
# No X-ray record comes near this; a longer one is a damaged length field that happens to pass its checksum.
_MAX_RECORD_BYTES = 1 << 30
_GZIP_MAGIC = b'\x1f\x8b'
_SHARD_NAME = re.compile(r'^.*?(\d+)-(\d+)\.tfrec(ord)?(\.gz)?$')


@dataclass(frozen=True)
class Record:
    """An undamaged record: its payload, its number in the file from 0, the byte its header starts at (after unzipping)."""

    index: int
    offset: int
    payload: bytes


@dataclass(frozen=True)
class Damage:
    """A stretch of a file that holds no readable record; `payload` is what could be read of it (maybe nothing)."""

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
    return b''.join((length, _CRC.pack(masked_crc(length)), payload, _CRC.pack(masked_crc(payload))))


def promised_count(path: str) -> int | None:
    """The number of records that a file name of the form `NNN-COUNT.tfrec` promises; None for other names."""
    match = _SHARD_NAME.match(PurePosixPath(path).name)
    return int(match.group(2)) if match else None


def open_binary(path: str) -> BinaryIO:
    """Opens a local file, or one on an object store through TensorFlow's file systems, for reading bytes."""
    if '://' in path:
        import tensorflow as tf

        return io.BufferedReader(_Raw(tf.io.gfile.GFile(path, 'rb')), _READ_BYTES)
    return open(path, 'rb')


def read(path: str) -> Iterator[Record | Damage]:
    """Yields what a TFRecord file holds, in order: plain or gzip, told by the first bytes and not by the name.

    Every byte of the file belongs to exactly one yielded item. After a damaged length field the reader looks for the next
    header whose checksum holds, so one flipped byte costs one record.

    Raises:
      OSError: the file cannot be opened.
    """
    with open_binary(path) as raw:
        magic = raw.read(2)
        raw.seek(0)
        stream: BinaryIO = gzip.GzipFile(fileobj=raw) if magic == _GZIP_MAGIC else raw  # type: ignore[assignment]
        yield from _records(_Window(stream))


class _Raw(io.RawIOBase):
    """A GFile as a raw stream, so that BufferedReader can sit on it."""

    def __init__(self, gfile) -> None:
        self._gfile = gfile

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._gfile.seek(offset, whence)
        return self._gfile.tell()

    def readinto(self, buffer) -> int:
        data = self._gfile.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._gfile.close()
        super().close()


class _Window:
    """The unread part of a stream, as far as it has been asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ended = False
        self.start = 0  # offset in the stream of buffer[0]
        self.buffer = bytearray()
        self.error = ''  # why the stream ended before its time

    def fill(self, size: int) -> bool:
        """Makes at least `size` bytes available; False when the stream ends before."""
        while len(self.buffer) < size and not self._ended:
            try:
                # read1: what stands before the place where a compressed stream breaks is handed out before the error.
                chunk = self._stream.read1(_READ_BYTES)  # type: ignore[attr-defined]
            except (OSError, EOFError, zlib.error) as error:
                chunk, self.error, self._ended = b'', str(error) or type(error).__name__, True
            if not chunk:
                self._ended = True
            self.buffer += chunk
        return len(self.buffer) >= size

    def skip(self, size: int) -> None:
        del self.buffer[:size]
        self.start += size


def _records(window: _Window) -> Iterator[Record | Damage]:
    index = 0
    if not window.fill(1) and not window.error:
        yield Damage(0, 0, 0, 'the file is empty')
        return
    while window.fill(1):
        offset = window.start
        item = _next(window, index)
        assert window.start > offset
        yield item
        index += 1
    if window.error:
        yield Damage(index, window.start, 0, f'the compressed stream breaks off: {window.error}')


def _next(window: _Window, index: int) -> Record | Damage:
    offset, buffer = window.start, window.buffer
    if not window.fill(_HEADER.size):
        return _rest(window, index, f'{len(buffer)} bytes are left, fewer than the {_HEADER.size} of a record header')
    length, crc = _HEADER.unpack_from(buffer)
    if masked_crc(bytes(buffer[:8])) != crc or length > _MAX_RECORD_BYTES:
        return _resync(window, index)
    size = _HEADER.size + length + _CRC.size
    if not window.fill(size):
        return _rest(window, index, f'the file ends inside this record: {size} bytes expected, {len(buffer)} left')
    payload = bytes(buffer[_HEADER.size : size - _CRC.size])
    (payload_crc,) = _CRC.unpack_from(buffer, size - _CRC.size)
    window.skip(size)
    if masked_crc(payload) != payload_crc:
        return Damage(index, offset, size, 'the checksum (CRC-32C) of the payload does not hold', payload)
    return Record(index, offset, payload)


def _rest(window: _Window, index: int, reason: str) -> Damage:
    offset, payload = window.start, bytes(window.buffer)
    window.skip(len(payload))
    return Damage(index, offset, len(payload), reason, payload)


def _resync(window: _Window, index: int) -> Damage:
    """Skips to the next header whose checksum holds, or to the end."""
    offset, step, lost = window.start, 1, bytearray()
    while window.fill(step + _HEADER.size):
        head = bytes(window.buffer[step : step + _HEADER.size])
        if _CRC.unpack_from(head, 8)[0] == masked_crc(head[:8]):
            break
        step += 1
        if step == _READ_BYTES:
            lost += window.buffer[:step]
            window.skip(step)
            step = 0
    else:
        step = len(window.buffer)
    lost += window.buffer[:step]
    window.skip(step)
    reason = 'the checksum (CRC-32C) of the record header does not hold'
    return Damage(index, offset, len(lost), reason, bytes(lost))
