"""Checks an uploaded file before anything is decoded, and turns it into what the model reads."""

from __future__ import annotations

import io
import itertools
import re
import struct
import threading
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.filereader import read_partial
from pydicom.pixels import apply_modality_lut, apply_voi, get_decoder

from schemas import image_status

PNG, JPEG, DICOM = 'png', 'jpeg', 'dicom'
MEDIA_TYPES = {PNG: 'image/png', JPEG: 'image/jpeg', DICOM: 'application/dicom'}
_PNG_MAGIC, _JPEG_MAGIC, _DICOM_MAGIC = b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'DICM'
_DICOM_PREAMBLE = 128
_FRONTAL = frozenset({'PA', 'AP', 'AP AXIAL', 'PA AXIAL', ''})
_CHEST_MODALITIES = frozenset({'CR', 'DX', 'SC', 'RG', 'OT'})
_GREY = ('MONOCHROME1', 'MONOCHROME2')
# Everything in a DICOM file before the pixels; a larger header takes seconds to parse.
_MAX_DICOM_HEADER_BYTES = 1 << 20
_MAX_DICOM_ELEMENTS = 5_000
_DICOM_ITEM = b'\xfe\xff\x00\xe0'  # the tag of an item of a sequence
_PIXEL_GROUP = 0x7FE00000
_PIXEL_DATA = 0x7FE00010
# Its data set is compressed: a small file may become gigabytes.
_DEFLATED = b'1.2.840.10008.1.2.1.99'
_NARROWEST = 1e-6
# An image of the largest size takes half a gigabyte while it is decoded.
_DECODING = threading.BoundedSemaphore(2)
# All that is stored of a DICOM file: what its pixels are, and how they are shown.
DICOM_TAGS = (
    'Modality',
    'BodyPartExamined',
    'ViewPosition',
    'PatientOrientation',
    'SamplesPerPixel',
    'PhotometricInterpretation',
    'NumberOfFrames',
    'Rows',
    'Columns',
    'BitsAllocated',
    'BitsStored',
    'HighBit',
    'PixelRepresentation',
    'PixelPaddingValue',
    'RescaleIntercept',
    'RescaleSlope',
    'RescaleType',
    'WindowCenter',
    'WindowWidth',
    'VOILUTFunction',
    'PresentationLUTShape',
    'ModalityLUTSequence',
    'VOILUTSequence',
    'LossyImageCompression',
    'PixelData',
)
_LUT_TAGS = ('LUTDescriptor', 'ModalityLUTType', 'LUTData')
# The parts of a PNG that say what its pixels are. Others are texts, times and profiles.
_PNG_CHUNKS = frozenset((b'IHDR', b'PLTE', b'IDAT', b'IEND', b'tRNS', b'gAMA', b'cHRM', b'sBIT'))
_JPEG_START_OF_SCAN, _JPEG_END, _JPEG_COMMENT = 0xDA, 0xD9, 0xFE
_JPEG_APPLICATION = range(0xE0, 0xF0)
# Of these, what a decoder needs: JFIF, and Adobe's transform of colours.
_JPEG_DECODING = (b'JFIF\0', b'Adobe')
_JPEG_MARKER = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')


class UploadError(ValueError):
    """A file that cannot be accepted; the text says why, and has nothing out of a DICOM header."""


@dataclass(frozen=True)
class Upload:
    """An accepted file: its kind and its size in pixels."""

    kind: str
    width: int
    height: int


@dataclass(frozen=True)
class Rendering:
    """A DICOM image as a viewer shows it.

    Attributes:
      pixels: uint8 [height, width]; bone is bright, whatever the photometric interpretation.
      black, white: the values, in the units of the modality, that are shown as 0 and as 255; for a
        curve, its ends. The higher one is `black` where high values are dark.
      lowest, highest: of all values.
    """

    pixels: np.ndarray
    black: float
    white: float
    lowest: float
    highest: float


def check(content: bytes, max_pixels: int = image_status.MAX_PIXELS) -> Upload:
    """Checks a file by its header alone.

    Args:
      content: the whole file.
      max_pixels: the most pixels that are accepted.

    Raises:
      UploadError: it is not a PNG, JPEG or DICOM image, or has too many pixels.
    """
    kind = _kind(content)
    if kind == DICOM:
        width, height = _dicom_size(_read_dicom(content))
    elif kind == PNG:
        width, height = _png_size(content)
    else:
        width, height = _jpeg_size(content)
    _check_size(width, height, max_pixels)
    return Upload(kind, width, height)


def without_metadata(content: bytes, kind: str) -> bytes:
    """A file that `check` accepted, with its pixels alone.

    A DICOM file keeps `DICOM_TAGS`; a PNG or JPEG loses texts, profiles, previews and whatever
    follows its end. Names and dates may be in any of these.

    Raises:
      UploadError: the file cannot be taken apart.
    """
    if kind == DICOM:
        return _without_dicom_metadata(content)
    return _without_png_metadata(content) if kind == PNG else _without_jpeg_metadata(content)


def to_model_input(content: bytes, kind: str) -> bytes:
    """A PNG or JPEG as the model reads it; a DICOM image becomes an 8-bit PNG.

    Raises:
      UploadError: the pixels of a DICOM image cannot be read.
    """
    return to_png(dicom_pixels(content)) if kind == DICOM else content


def to_png(pixels: np.ndarray) -> bytes:
    """The PNG of uint8 [height, width]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, 'PNG', compress_level=1)
    return stream.getvalue()


def dicom_pixels(content: bytes) -> np.ndarray:
    """The pixels of `render` with the window of the file."""
    return render(content).pixels


def render(content: bytes, center: float | None = None, width: float | None = None) -> Rendering:
    """Decodes and windows a DICOM image.

    Args:
      content: the file.
      center, width: a window in the units of the modality; None for that of the file. A file
        without one is shown as it is if it has 8 bits, or else from its darkest to its brightest
        pixel.

    Raises:
      UploadError: the pixels cannot be read.
    """
    dataset = _read_dicom(content)
    with _DECODING:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                values = _values(dataset)
                lowest, highest = float(values.min()), float(values.max())
                low, high, shown = _windowed(dataset, values, center, width)
        except UploadError:
            raise
        except Exception:  # noqa: BLE001 - what damaged pixels make a library raise
            raise UploadError('the pixels of the DICOM image cannot be read') from None
        np.nan_to_num(shown, copy=False, posinf=1.0, neginf=0.0)
        shown *= 255
        pixels = np.rint(shown, out=shown).astype(np.uint8)
    if dataset.get('PhotometricInterpretation') == 'MONOCHROME1':
        pixels, low, high = 255 - pixels, high, low
    return Rendering(pixels, low, high, lowest, highest)


def _kind(content: bytes) -> str:
    if content.startswith(_PNG_MAGIC):
        return PNG
    if content.startswith(_JPEG_MAGIC):
        return JPEG
    if content[_DICOM_PREAMBLE : _DICOM_PREAMBLE + 4] == _DICOM_MAGIC:
        return DICOM
    if not content:
        raise UploadError('the file is empty')
    raise UploadError('the file is not a PNG, JPEG or DICOM image')


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width <= 0 or height <= 0:
        raise UploadError(f'the image has {width} x {height} pixels')
    if width * height > max_pixels:
        raise UploadError(
            f'the image has {width:,} x {height:,} pixels, more than the limit of {max_pixels:,}'
        )


def _png_size(content: bytes) -> tuple[int, int]:
    if content[12:16] != b'IHDR' or len(content) < 24:
        raise UploadError('the PNG has no header')
    return struct.unpack('>II', content[16:24])


def _jpeg_size(content: bytes) -> tuple[int, int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            # Opening reads the header alone.
            with Image.open(io.BytesIO(content), formats=['JPEG']) as image:
                return image.size
    except Image.DecompressionBombError:
        raise UploadError('the JPEG has too many pixels') from None
    except Exception:  # noqa: BLE001 - what a damaged header makes a library raise
        raise UploadError('the header of the JPEG cannot be read') from None


def _without_png_metadata(content: bytes) -> bytes:
    parts, position = [content[: len(_PNG_MAGIC)]], len(_PNG_MAGIC)
    while position + 8 <= len(content):
        name = content[position + 4 : position + 8]
        end = position + 12 + int.from_bytes(content[position : position + 4], 'big')
        if name in _PNG_CHUNKS:
            parts.append(content[position:end])
        if name == b'IEND':
            break
        position = end
    return b''.join(parts)


def _without_jpeg_metadata(content: bytes) -> bytes:
    parts, position = [content[:2]], 2
    while match := _JPEG_MARKER.search(content, position):
        start, marker = match.start(), content[match.start() + 1]
        # The scan before it.
        parts.append(content[position:start])
        if marker == _JPEG_END:
            parts.append(content[start : start + 2])
            return b''.join(parts)
        end = start + 2 + max(int.from_bytes(content[start + 2 : start + 4], 'big'), 2)
        if not _is_jpeg_metadata(marker, content[start + 4 : start + 9]):
            parts.append(content[start:end])
        position = end
    # Without an end: a damaged file, which the model is to see as such.
    parts.append(content[position:])
    return b''.join(parts)


def _is_jpeg_metadata(marker: int, name: bytes) -> bool:
    return marker == _JPEG_COMMENT or (
        marker in _JPEG_APPLICATION and not name.startswith(_JPEG_DECODING)
    )


def _read_dicom(content: bytes) -> pydicom.Dataset:
    """The data set up to its pixels, after a look at the header alone.

    Raises:
      UploadError: it cannot be read.
    """
    if _DEFLATED in content[:_MAX_DICOM_HEADER_BYTES]:
        raise UploadError('the DICOM file is deflated: send it with another transfer syntax')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            # First within bounds, so that no header can take long.
            if content.count(_DICOM_ITEM, 0, _MAX_DICOM_HEADER_BYTES) > _MAX_DICOM_ELEMENTS:
                raise UploadError('the DICOM header has too many items in its sequences')
            head = io.BytesIO(content[:_MAX_DICOM_HEADER_BYTES])
            elements = itertools.count(1)
            header = read_partial(
                head,
                lambda tag, vr, length: tag >= _PIXEL_GROUP or next(elements) > _MAX_DICOM_ELEMENTS,
            )
            if next(elements) > _MAX_DICOM_ELEMENTS:
                raise UploadError(
                    f'the DICOM header has more than {_MAX_DICOM_ELEMENTS:,} elements'
                )
            if head.tell() >= _MAX_DICOM_HEADER_BYTES and len(content) > _MAX_DICOM_HEADER_BYTES:
                raise UploadError(
                    f'the DICOM header has more than {_MAX_DICOM_HEADER_BYTES:,} bytes'
                )
            _check_dicom(header)
            return read_partial(io.BytesIO(content), lambda tag, vr, length: tag > _PIXEL_DATA)
    except UploadError:
        raise
    except Exception:  # noqa: BLE001 - what a damaged header makes a library raise
        # Its message may have a value of the header in it.
        raise UploadError('the DICOM header cannot be read') from None


def _check_dicom(header: pydicom.Dataset) -> None:
    modality = str(header.get('Modality', '') or '')[:16]
    if modality and modality not in _CHEST_MODALITIES:
        raise UploadError(f'Modality (0008,0060) is {modality}: expected a radiograph (CR or DX)')
    view = str(header.get('ViewPosition', '') or '')[:16]
    if view not in _FRONTAL:
        raise UploadError(f'ViewPosition (0018,5101) is {view}: expected a frontal view (PA or AP)')
    if int(header.get('NumberOfFrames', 1) or 1) != 1:
        raise UploadError('NumberOfFrames (0028,0008) is not 1: expected a single image')
    if 'Rows' not in header or 'Columns' not in header:
        raise UploadError('Rows (0028,0010) or Columns (0028,0011) is missing')
    if int(header.get('SamplesPerPixel', 1)) != 1 or (
        header.get('PhotometricInterpretation') not in _GREY
    ):
        raise UploadError(
            'PhotometricInterpretation (0028,0004): expected MONOCHROME1 or MONOCHROME2'
        )
    syntax = header.file_meta.get('TransferSyntaxUID')
    if syntax is None:
        raise UploadError('TransferSyntaxUID (0002,0010) is missing')
    if syntax.is_compressed and not _can_decode(syntax):
        raise UploadError(
            f'TransferSyntaxUID (0002,0010) is {syntax.name}, which cannot be decoded here: send '
            'the image uncompressed, or as JPEG Baseline, JPEG 2000 or RLE'
        )


def _can_decode(syntax: pydicom.uid.UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _dicom_size(dataset: pydicom.Dataset) -> tuple[int, int]:
    if 'PixelData' not in dataset:
        raise UploadError('PixelData (7FE0,0010) is missing')
    try:
        return int(dataset.Columns), int(dataset.Rows)
    except Exception:  # noqa: BLE001 - e.g. a list of values
        raise UploadError('Rows (0028,0010) or Columns (0028,0011) cannot be read') from None


def _without_dicom_metadata(content: bytes) -> bytes:
    dataset = _read_dicom(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return _written(_with_tags(dataset, DICOM_TAGS), dataset.file_meta.TransferSyntaxUID)
    except Exception:  # noqa: BLE001 - what damaged values make a library raise
        raise UploadError('the DICOM file cannot be read') from None


def _with_tags(dataset: pydicom.Dataset, keywords: tuple[str, ...]) -> pydicom.Dataset:
    stripped = pydicom.Dataset()
    for keyword in keywords:
        if keyword not in dataset:
            continue
        element = dataset[keyword]
        if element.VR == 'SQ':
            items = [_with_tags(item, _LUT_TAGS) for item in element.value]
            setattr(stripped, keyword, items)
        else:
            stripped.add(element)
    return stripped


def _written(dataset: pydicom.Dataset, syntax: pydicom.uid.UID) -> bytes:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    file = pydicom.FileDataset(stream, dataset, preamble=b'\0' * _DICOM_PREAMBLE, file_meta=meta)
    pydicom.dcmwrite(stream, file, enforce_file_format=False)
    return stream.getvalue()


def _values(dataset: Any) -> np.ndarray:
    """The values in the units of the modality, float32 [height, width]."""
    _check_frame(dataset)
    stored = dataset.pixel_array
    if stored.ndim != 2:
        raise UploadError(f'the image has shape {stored.shape}: expected one grey image')
    return np.array(apply_modality_lut(stored, dataset), dtype=np.float32)


def _windowed(
    dataset: Any, values: np.ndarray, center: float | None, width: float | None
) -> tuple[float, float, np.ndarray]:
    """The ends of the window, and the grey levels, 0..1 [height, width]; changes `values`."""
    lowest, highest = float(values.min()), float(values.max())
    function = 'LINEAR_EXACT'
    if center is None or width is None:
        if 'VOILUTSequence' in dataset and dataset.VOILUTSequence:
            shown = apply_voi(values.astype(np.int64), dataset)
            bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
            levels = np.clip(np.asarray(shown, dtype=np.float32) / (2**bits - 1), 0.0, 1.0)
            return lowest, highest, levels
        if dataset.get('WindowCenter') is None or dataset.get('WindowWidth') is None:
            has_bytes = int(dataset.BitsStored) == 8 and dataset.pixel_array.dtype == np.uint8
            if has_bytes and highest <= 255:
                lowest, highest = 0.0, 255.0
            return lowest, highest, _scaled(values, lowest, highest)
        # The first window of the file; see DICOM PS3.3, C.11.2.1.2.
        center, width = (_first(dataset[name].value) for name in ('WindowCenter', 'WindowWidth'))
        function = str(dataset.get('VOILUTFunction', '') or 'LINEAR')
    if function == 'LINEAR':
        center, width = center - 0.5, max(width - 1.0, _NARROWEST)
    low, high = center - width / 2, center + width / 2
    if function == 'SIGMOID':
        return low, high, 1.0 / (1.0 + np.exp(-4.0 * (values - center) / width))
    return low, high, _scaled(values, low, high)


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`values`, changed in place: 0 at `low` and below, 1 at `high` and above."""
    values -= low
    values /= max(high - low, _NARROWEST)
    return np.clip(values, 0.0, 1.0, out=values)


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)


def _check_frame(dataset: Any) -> None:
    """Refuses compressed pixels whose own header says another size than the file's."""
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        return
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    try:
        with Image.open(io.BytesIO(frame)) as image:
            size = image.size
    except Exception:  # noqa: BLE001 - a format without such a header, or damaged
        return
    if size != (dataset.Columns, dataset.Rows):
        raise UploadError('the pixels of the DICOM image have another size than its header says')
