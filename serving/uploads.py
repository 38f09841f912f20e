"""Checks an uploaded file before anything is decoded, and turns it into what the model reads."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from schemas import image_status

PNG, JPEG, DICOM = 'png', 'jpeg', 'dicom'
MEDIA_TYPES = {PNG: 'image/png', JPEG: 'image/jpeg', DICOM: 'application/dicom'}
_PNG_MAGIC, _JPEG_MAGIC, _DICOM_MAGIC = b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'DICM'
_DICOM_PREAMBLE = 128
_FRONTAL = frozenset({'PA', 'AP', 'AP AXIAL', 'PA AXIAL', ''})
_CHEST_MODALITIES = frozenset({'CR', 'DX', 'SC', 'RG', 'OT'})


class UploadError(ValueError):
    """A file that cannot be accepted; the text says why."""


@dataclass(frozen=True)
class Upload:
    """An accepted file: its kind and its size in pixels."""

    kind: str
    width: int
    height: int


def check(content: bytes, max_pixels: int = image_status.MAX_PIXELS) -> Upload:
    """Checks a file by its header alone.

    Args:
      content: the whole file.
      max_pixels: the most pixels that are accepted.

    Raises:
      UploadError: it is not a PNG, JPEG or DICOM image, or has too many pixels.
    """
    kind = _kind(content)
    try:
        width, height = _dicom_size(content) if kind == DICOM else _size(content)
    except UploadError:
        raise
    except Exception as error:  # noqa: BLE001 - what a damaged header makes a library raise
        raise UploadError(f'the {kind.upper()} header cannot be read: {error}') from None
    if width <= 0 or height <= 0:
        raise UploadError(f'the image has {width} x {height} pixels')
    if width * height > max_pixels:
        raise UploadError(
            f'the image has {width:,} x {height:,} pixels, more than the limit of {max_pixels:,}'
        )
    return Upload(kind, width, height)


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


def dicom_pixels(
    content: bytes, center: float | None = None, width: float | None = None
) -> np.ndarray:
    """The pixels of a DICOM image as a viewer shows them.

    Args:
      content: the file.
      center, width: a window in the units of the modality; None for that of the file.

    Returns:
      uint8 [height, width]; the brightest is white, whatever the photometric interpretation.

    Raises:
      UploadError: the pixels cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            dataset = pydicom.dcmread(io.BytesIO(content))
            values = apply_modality_lut(dataset.pixel_array, dataset)
            if center is None or width is None:
                values = apply_voi_lut(values, dataset)
            else:
                values = np.clip(values, center - width / 2, center + width / 2)
            values = np.asarray(values, dtype=np.float64)
    except Exception as error:  # noqa: BLE001 - what damaged pixels make a library raise
        raise UploadError(f'the pixels cannot be read: {error}') from None
    if values.ndim != 2:
        raise UploadError(f'the image has shape {values.shape}: expected one grey image')
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    if dataset.get('PhotometricInterpretation') == 'MONOCHROME1':
        scaled = 1.0 - scaled
    return np.rint(scaled * 255).astype(np.uint8)


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


def _size(content: bytes) -> tuple[int, int]:
    if content.startswith(_PNG_MAGIC):
        if content[12:16] != b'IHDR' or len(content) < 24:
            raise UploadError('the PNG has no header')
        return struct.unpack('>II', content[16:24])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        # Opening reads the header alone.
        with Image.open(io.BytesIO(content), formats=['JPEG']) as image:
            return image.size


def _dicom_size(content: bytes) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        dataset = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    modality = str(dataset.get('Modality', ''))
    if modality and modality not in _CHEST_MODALITIES:
        raise UploadError(f'Modality (0008,0060) is {modality}: expected a radiograph (CR or DX)')
    view = str(dataset.get('ViewPosition', '') or '')
    if view not in _FRONTAL:
        raise UploadError(f'ViewPosition (0018,5101) is {view}: expected a frontal view (PA or AP)')
    if int(dataset.get('NumberOfFrames', 1) or 1) != 1:
        raise UploadError('NumberOfFrames (0028,0008) is not 1: expected a single image')
    if 'Rows' not in dataset or 'Columns' not in dataset:
        raise UploadError('Rows (0028,0010) or Columns (0028,0011) is missing')
    return int(dataset.Columns), int(dataset.Rows)
