"""Renders DICOM images as a viewer shows them."""

from __future__ import annotations

import io
import threading
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi

from serving.image_formats import dicom
from serving.image_formats.error import UploadError

_NARROWEST = 1e-6
# An image of the largest size takes half a gigabyte while it is decoded.
_DECODING = threading.BoundedSemaphore(2)


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
    dataset = dicom.read(content)
    with _DECODING:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                values = _values(dataset)
                lowest, highest = float(values.min()), float(values.max())
                low, high, levels = _windowed(dataset, values, (lowest, highest), center, width)
        except UploadError:
            raise
        except Exception:  # noqa: BLE001 - what damaged pixels make a library raise
            raise UploadError('the pixels of the DICOM image cannot be read') from None
        np.nan_to_num(levels, copy=False, posinf=1.0, neginf=0.0)
        levels *= 255
        pixels = np.rint(levels, out=levels).astype(np.uint8)
    if dataset.get('PhotometricInterpretation') == 'MONOCHROME1':
        pixels, low, high = 255 - pixels, high, low
    return Rendering(pixels, low, high, lowest, highest)


def _values(dataset: Any) -> np.ndarray:
    """The values in the units of the modality, float32 [height, width]."""
    _check_frame(dataset)
    stored = dataset.pixel_array
    if stored.ndim != 2:
        raise UploadError(f'the image has shape {stored.shape}: expected one grey image')
    return np.array(apply_modality_lut(stored, dataset), dtype=np.float32)


def _windowed(
    dataset: Any,
    values: np.ndarray,
    extremes: tuple[float, float],
    center: float | None,
    width: float | None,
) -> tuple[float, float, np.ndarray]:
    """The ends of the window, and the grey levels, 0..1 [height, width]; changes `values`."""
    lowest, highest = extremes
    function = 'LINEAR_EXACT'
    if center is None or width is None:
        if 'VOILUTSequence' in dataset and dataset.VOILUTSequence:
            looked_up = apply_voi(values.astype(np.int64), dataset)
            bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
            levels = np.clip(np.asarray(looked_up, dtype=np.float32) / (2**bits - 1), 0.0, 1.0)
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
