"""The 8-bit image: lookup tables, windows, padding, polarity."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from records.dicom import reader
from records.dicom.error import DicomError
from tests.support import dicom_files

_RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
_BITS = {'BitsStored': 12}


def _shown(image: np.ndarray, **tags: object) -> np.ndarray:
    return reader.read(dicom_files.build(image, **tags)).render().pixels


def _table(first: int, values: np.ndarray, bits: int) -> pydicom.Dataset:
    table = pydicom.Dataset()
    table.LUTDescriptor = [len(values), first, bits]
    table.LUTData = values.astype('<u2').tobytes()
    return table


def _linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((values - low) / (high - low), 0, 1) * 255


def test_eight_bits_are_shown_as_they_are() -> None:
    values = dicom_files.pixels(8) // 2 + 20
    np.testing.assert_array_equal(_shown(values), values)


def test_a_signed_image_without_a_window_spans_its_values() -> None:
    values = dicom_files.pixels(16)
    expected = _linear(values.astype(float), values.min(), values.max())
    np.testing.assert_allclose(_shown(values), expected, atol=0.51)


@pytest.mark.parametrize('function', ['LINEAR', 'LINEAR_EXACT', 'SIGMOID', None])
def test_windows_act_on_rescaled_values(function: str | None) -> None:
    tags = {'VOILUTFunction': function} if function else {}
    shown = _shown(
        _RAMP,
        **_BITS,
        RescaleSlope=2,
        RescaleIntercept=-1000,
        WindowCenter=[3000, 1],
        WindowWidth=[2000, 1],
        **tags,
    )
    values = _RAMP * 2.0 - 1000
    if function == 'SIGMOID':
        expected = 255 / (1 + np.exp(-4 * (values - 3000) / 2000))
    elif function == 'LINEAR_EXACT':
        expected = _linear(values, 2000, 4000)
    else:
        # PS3.3, C.11.2.1.2.1: half a level and one level less.
        expected = ((values - 2999.5) / 1999 + 0.5).clip(0, 1) * 255
    np.testing.assert_allclose(shown, expected, atol=0.51)


def test_a_voi_table_comes_before_a_window() -> None:
    curve = np.sqrt(np.linspace(0, 1, 2048)) * 4095
    shown = _shown(
        _RAMP,
        **_BITS,
        VOILUTSequence=[_table(1024, curve, 12)],
        WindowCenter=5,
        WindowWidth=5,
    )
    index = np.clip(_RAMP.astype(int) - 1024, 0, 2047)
    np.testing.assert_allclose(shown, curve.astype(int)[index] / 4095 * 255, atol=0.51)


def test_a_modality_table_comes_before_the_window() -> None:
    table = _table(0, np.arange(4096)[::-1], 16)
    table.ModalityLUTType = 'US'
    shown = _shown(
        _RAMP,
        **_BITS,
        ModalityLUTSequence=[table],
        WindowCenter=2048,
        WindowWidth=4096,
    )
    np.testing.assert_allclose(shown, (4095.0 - _RAMP) / 4095 * 255, atol=0.51)


@pytest.mark.parametrize(
    ('photometric', 'shape', 'inverted'),
    [
        ('MONOCHROME1', None, True),
        ('MONOCHROME2', None, False),
        ('MONOCHROME1', 'INVERSE', True),
        ('MONOCHROME2', 'IDENTITY', False),
        ('MONOCHROME1', 'IDENTITY', False),
        ('MONOCHROME2', 'INVERSE', True),
    ],
)
def test_the_polarity(photometric: str, shape: str | None, inverted: bool) -> None:
    tags = {'PresentationLUTShape': shape} if shape else {}
    values = dicom_files.pixels(8)
    shown = _shown(values, PhotometricInterpretation=photometric, **tags)
    np.testing.assert_array_equal(shown, 255 - values if inverted else values)


@pytest.mark.parametrize('photometric', ['MONOCHROME1', 'MONOCHROME2'])
def test_padding_is_black_and_does_not_count(photometric: str) -> None:
    values = dicom_files.pixels(16).copy()
    values[:, :10], values[:, 10:12] = -32768, -32766
    shown = reader.read(
        dicom_files.build(
            values,
            PhotometricInterpretation=photometric,
            PixelPaddingValue=-32768,
            PixelPaddingRangeLimit=-32766,
        )
    ).render()
    inside = values[:, 12:]
    assert (shown.pixels[:, :12] == 0).all()
    assert (shown.lowest, shown.highest) == (inside.min(), inside.max())
    expected = _linear(inside.astype(float), inside.min(), inside.max())
    if photometric == 'MONOCHROME1':
        expected = 255 - expected
    np.testing.assert_allclose(shown.pixels[:, 12:], expected, atol=0.51)


def test_an_image_of_padding_is_refused() -> None:
    content = dicom_files.build(np.zeros((64, 64), np.uint8), PixelPaddingValue=0)
    with pytest.raises(DicomError, match='padding'):
        reader.read(content).render()
