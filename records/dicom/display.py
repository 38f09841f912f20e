"""Renders a DICOM image as a viewer shows it (PS3.3, C.11: modality LUT, VOI, presentation)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut, apply_voi

from records.dicom import pixels, values
from records.dicom.error import damaged, reading

_NARROWEST = 1e-6
_BYTE = 8


@dataclass(frozen=True)
class Rendering:
    """A DICOM image as a viewer shows it.

    Attributes:
      pixels: uint8 [height, width]; bone is bright, whatever the photometric interpretation.
      black, white: the values, in the units of the modality, that are shown as 0 and as 255; for a
        curve, its ends. The higher one is `black` where high values are dark.
      lowest, highest: of all values that are not padding.
    """

    pixels: np.ndarray
    black: float
    white: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class _Levels:
    """Grey levels, float32 0..1 [height, width], and the values at the ends of the window."""

    low: float
    high: float
    levels: np.ndarray


def render(
    dataset: pydicom.Dataset, center: float | None = None, width: float | None = None
) -> Rendering:
    """Decodes and windows a DICOM image.

    Args:
      dataset: with its pixels; accepted by the rules.
      center, width: a window in the units of the modality; None for that of the file: its VOI LUT,
        else its first window. A file without one is shown as it is if it has 8 bits, or else from
        its lowest to its highest value.

    Raises:
      DicomError: the pixels are damaged.
    """
    stored = pixels.stored_values(dataset)
    with reading(pixels.UNREADABLE):
        return _rendered(dataset, stored, center, width)


def _rendered(
    dataset: pydicom.Dataset, stored: np.ndarray, center: float | None, width: float | None
) -> Rendering:
    padding = _padding(dataset, stored)
    modality = np.array(apply_modality_lut(stored, dataset), dtype=np.float32)
    shown = modality if padding is None else modality[~padding]
    if not shown.size:
        raise damaged('all pixels of the DICOM image are padding (PixelPaddingValue (0028,0120))')
    lowest, highest = float(shown.min()), float(shown.max())
    if center is not None and width is not None:
        result = _windowed(modality, center, width, 'LINEAR_EXACT')
    else:
        result = _as_the_file_says(dataset, stored, modality, (lowest, highest))
    levels, low, high = result.levels, result.low, result.high
    np.nan_to_num(levels, copy=False, posinf=1.0, neginf=0.0)
    levels *= 255
    grey = np.rint(levels, out=levels).astype(np.uint8)
    if _is_inverted(dataset):
        np.subtract(255, grey, out=grey)
        low, high = high, low
    if padding is not None:
        grey[padding] = 0
    return Rendering(grey, low, high, lowest, highest)


def _is_inverted(dataset: pydicom.Dataset) -> bool:
    """Whether high values are dark. The shape is the last step of display, so it decides."""
    shape = values.code(dataset, 'PresentationLUTShape')
    if shape in ('IDENTITY', 'INVERSE'):
        return shape == 'INVERSE'
    return values.code(dataset, 'PhotometricInterpretation') == 'MONOCHROME1'


def _padding(dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Which pixels are outside of the exposed field, bool [height, width]; None if all are in."""
    first = values.integer(dataset, 'PixelPaddingValue')
    if first is None:
        return None
    last = values.integer(dataset, 'PixelPaddingRangeLimit', first)
    # A file may have them as unsigned although its pixels are signed, and the other way round.
    low, high = sorted(int(np.array(value).astype(stored.dtype)) for value in (first, last))
    padding = (stored >= low) & (stored <= high)
    return padding if padding.any() else None


def _as_the_file_says(
    dataset: pydicom.Dataset,
    stored: np.ndarray,
    modality: np.ndarray,
    extremes: tuple[float, float],
) -> _Levels:
    lowest, highest = extremes
    if tables := values.items(dataset, 'VOILUTSequence'):
        looked_up = apply_voi(modality.astype(np.int64), dataset)
        most = 2 ** int(tables[0].LUTDescriptor[2]) - 1
        levels = np.clip(np.asarray(looked_up, dtype=np.float32) / most, 0.0, 1.0)
        return _Levels(lowest, highest, levels)
    center, width = (values.number(dataset, name) for name in ('WindowCenter', 'WindowWidth'))
    if center is not None and width is not None:
        function = values.code(dataset, 'VOILUTFunction') or 'LINEAR'
        return _windowed(modality, center, width, function)
    is_byte = int(dataset.BitsStored) == _BYTE and stored.dtype == np.uint8
    if is_byte and highest <= 255 and lowest >= 0:
        lowest, highest = 0.0, 255.0
    return _Levels(lowest, highest, _scaled(modality, lowest, highest))


def _windowed(modality: np.ndarray, center: float, width: float, function: str) -> _Levels:
    """Applies a window; see PS3.3, C.11.2.1.2 and C.11.2.1.3. Changes `modality`."""
    if function == 'LINEAR':
        center, width = center - 0.5, width - 1.0
    width = max(width, _NARROWEST)
    low, high = center - width / 2, center + width / 2
    if function == 'SIGMOID':
        return _Levels(low, high, 1.0 / (1.0 + np.exp(-4.0 * (modality - center) / width)))
    return _Levels(low, high, _scaled(modality, low, high))


def _scaled(modality: np.ndarray, low: float, high: float) -> np.ndarray:
    """`modality`, changed in place: 0 at `low` and below, 1 at `high` and above."""
    modality -= low
    modality /= max(high - low, _NARROWEST)
    return np.clip(modality, 0.0, 1.0, out=modality)
