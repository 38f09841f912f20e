"""Decodes the stored values of a DICOM image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import RLELossless

from records import images
from records.dicom import codestreams, decoder, syntaxes, values
from records.dicom.codestreams import Codestream
from records.dicom.error import damaged, reading

# JPEGs of up to this depth are decoded like any other JPEG.
_JPEG_BITS = 8
UNREADABLE = 'the pixels of the DICOM image cannot be read'


def stored_values(dataset: pydicom.Dataset) -> np.ndarray:
    """The stored values of a data set that the rules accept.

    Returns:
      uint8, uint16, int8 or int16 [height, width].

    Raises:
      DicomError: the pixels are damaged, or their header contradicts that of the file.
    """
    if 'PixelData' not in dataset:
        raise damaged('PixelData (7FE0,0010) is missing')
    with reading(UNREADABLE):
        return _stored_values(dataset)


def _stored_values(dataset: pydicom.Dataset) -> np.ndarray:
    syntax = dataset.file_meta.TransferSyntaxUID
    bits, high = int(dataset.BitsStored), values.integer(dataset, 'HighBit')
    is_signed = values.integer(dataset, 'PixelRepresentation', 0) == 1
    if syntax in syntaxes.CODESTREAMS:
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        image = codestreams.inspect(frame)
        _check(image, dataset, syntaxes.CODESTREAMS[syntax])
        return _only_bits(_decoded(image), min(bits, image.bits), 0, is_signed)
    raw = _rle(dataset) if syntax == RLELossless else _uncompressed(dataset)
    shift = 0 if high is None else high + 1 - bits
    return _only_bits(raw, bits, shift, is_signed)


def _check(image: Codestream, dataset: pydicom.Dataset, kinds: tuple[str, ...]) -> None:
    if image.kind not in kinds:
        raise damaged(
            f'the compressed pixels are {image.kind}, but TransferSyntaxUID (0002,0010) says '
            f'{kinds[0]}'
        )
    if (image.width, image.height) != (int(dataset.Columns), int(dataset.Rows)):
        raise damaged('the pixels of the DICOM image have another size than its header says')
    if image.channels != 1:
        raise damaged(f'the compressed pixels have {image.channels} channels, expected 1')
    if not 2 <= image.bits <= 16:
        raise damaged(f'the compressed pixels have {image.bits} bits, expected at most 16')


def _decoded(image: Codestream) -> np.ndarray:
    if image.kind == codestreams.JPEG and image.bits == _JPEG_BITS:
        try:
            header = images.check_readable(image.content)
            return np.asarray(images.decode_stored(image.content, header))
        except images.ImageError as error:
            raise damaged(f'{UNREADABLE}: {error}') from None
    kind = np.uint8 if image.bits <= 8 else np.dtype('<u2')
    return np.frombuffer(decoder.decode(image), kind).reshape(image.height, image.width)


def _rle(dataset: pydicom.Dataset) -> np.ndarray:
    """Unsigned values of RLE, which pydicom decodes itself."""
    options: Any = {'raw': True, 'correct_unused_bits': False, 'decoding_plugin': 'pydicom'}
    array, _ = get_decoder(RLELossless).as_array(dataset, **options)
    if array.ndim != 2:
        raise damaged(f'the image has shape {array.shape}: expected one grey image')
    return np.ascontiguousarray(array).view(f'u{array.itemsize}')


def _uncompressed(dataset: pydicom.Dataset) -> np.ndarray:
    size = int(dataset.BitsAllocated) // 8
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    data = dataset.PixelData
    if len(data) < rows * columns * size:
        raise damaged(
            f'{UNREADABLE}: it is cut off, {len(data):,} of {rows * columns * size:,} bytes are '
            'present'
        )
    is_big = dataset.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRBigEndian
    if is_big and size == 1 and dataset['PixelData'].VR == 'OW':
        # Words, whose two bytes are swapped.
        data = np.frombuffer(data, '>u2').astype('<u2').tobytes()
    kind = np.uint8 if size == 1 else np.dtype('>u2' if is_big else '<u2')
    return np.frombuffer(data, kind, rows * columns).reshape(rows, columns)


def _only_bits(raw: np.ndarray, bits: int, shift: int, is_signed: bool) -> np.ndarray:
    """The values in `bits` bits from bit `shift` on; older files have overlays in the others."""
    width = 8 * raw.itemsize
    if is_signed:
        # Up to the sign, and down again.
        native = raw.astype(f'i{raw.itemsize}')
        return native << (width - bits - shift) >> (width - bits) if bits < width else native
    native = raw.astype(f'u{raw.itemsize}', copy=False)
    if bits == width:
        return native
    return (native >> shift) & native.dtype.type((1 << bits) - 1)
