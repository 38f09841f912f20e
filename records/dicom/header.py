"""Reads the data set of a DICOM file at a bounded cost."""

from __future__ import annotations

import io
import itertools
import zlib

import pydicom
from pydicom.filereader import read_dataset, read_partial

from records.dicom.error import HEADER_UNREADABLE, damaged, reading, unsupported

MAGIC, PREAMBLE = b'DICM', 128
# Everything in a DICOM file before the pixels; a larger header takes seconds to parse.
_MAX_HEADER_BYTES = 1 << 20
_MAX_ELEMENTS = 5_000
_ITEM = b'\xfe\xff\x00\xe0'  # the tag of an item of a sequence
_PIXEL_GROUP = 0x7FE00000
_PIXEL_DATA = 0x7FE00010
_DEFLATED = pydicom.uid.DeflatedExplicitVRLittleEndian
# Behind the preamble and `DICM`: the length of the group of the file's meta information.
_META = PREAMBLE + len(MAGIC)
_GROUP_LENGTH = b'\x02\x00\x00\x00UL\x04\x00'


def is_dicom(content: bytes) -> bool:
    """Whether the first bytes are those of a DICOM file."""
    return content.startswith(MAGIC, PREAMBLE)


def read_header(content: bytes) -> pydicom.Dataset:
    """The data set before its pixels. The first megabyte of a file is enough.

    Raises:
      DicomError: it cannot be read, or is too large.
    """
    with reading(HEADER_UNREADABLE):
        return _header(_inflated(content, _MAX_HEADER_BYTES))


def read_all(content: bytes, pixel_bytes: int) -> pydicom.Dataset:
    """The data set with its pixels, of a file whose header was read.

    Args:
      content: the file.
      pixel_bytes: how many bytes the pixels take by the header. It decides how much of a deflated
        file is inflated.

    Raises:
      DicomError: it cannot be read.
    """
    with reading(HEADER_UNREADABLE):
        expanded = _inflated(content, 2 * _MAX_HEADER_BYTES + pixel_bytes)
        return read_partial(io.BytesIO(expanded), lambda tag, vr, length: tag > _PIXEL_DATA)


def _header(content: bytes) -> pydicom.Dataset:
    # First within bounds, so that no header can take long.
    if content.count(_ITEM, 0, _MAX_HEADER_BYTES) > _MAX_ELEMENTS:
        raise unsupported('the DICOM header has too many items in its sequences')
    head = io.BytesIO(content[:_MAX_HEADER_BYTES])
    elements = itertools.count(1)
    header = read_partial(
        head, lambda tag, vr, length: tag >= _PIXEL_GROUP or next(elements) > _MAX_ELEMENTS
    )
    if next(elements) > _MAX_ELEMENTS:
        raise unsupported(f'the DICOM header has more than {_MAX_ELEMENTS:,} elements')
    if head.tell() >= _MAX_HEADER_BYTES and len(content) > _MAX_HEADER_BYTES:
        raise unsupported(f'the DICOM header has more than {_MAX_HEADER_BYTES:,} bytes')
    return header


def _inflated(content: bytes, limit: int) -> bytes:
    """The file; if its data set is deflated, an uncompressed one of at most about `limit` bytes.

    pydicom would inflate it without a limit, and a small file may become gigabytes.
    """
    if _DEFLATED.encode() not in content[:_MAX_HEADER_BYTES]:
        return content
    start = _META + len(_GROUP_LENGTH) + 4
    if content[_META : start - 4] != _GROUP_LENGTH:
        raise damaged('FileMetaInformationGroupLength (0002,0000) is missing')
    end = start + int.from_bytes(content[start - 4 : start], 'little')
    meta = read_dataset(io.BytesIO(content[start:end]), False, True)
    if meta.get('TransferSyntaxUID') != _DEFLATED:
        raise damaged(HEADER_UNREADABLE)
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[end:], limit)
    plain = pydicom.dataset.FileMetaDataset()
    plain.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    stream = io.BytesIO()
    stream.write(bytes(PREAMBLE) + MAGIC)
    pydicom.filewriter.write_file_meta_info(
        pydicom.filebase.DicomFileLike(stream), plain, enforce_standard=False
    )
    return stream.getvalue() + inflated
