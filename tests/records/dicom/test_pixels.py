"""The stored values of every transfer syntax, against the image that the files were made of."""

from __future__ import annotations

import io
import os
import random

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames

from records.dicom import decoder, pixels, reader, syntaxes
from records.dicom.error import DicomError
from tests.support import dicom_files

_COMPRESSED = [name for name in dicom_files.NAMES if name.startswith('jpeg')]


def _values(content: bytes) -> np.ndarray:
    return pixels.stored_values(reader.read(content).dataset)


def _with_frame(name: str, frame: bytes, **tags: object) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(dicom_files.read(name)))
    dataset.PixelData = encapsulate([frame])
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def _frame(name: str) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(dicom_files.read(name)))
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


@pytest.mark.parametrize('name', dicom_files.NAMES)
def test_every_transfer_syntax_has_the_known_values(name: str) -> None:
    expected, shown = dicom_files.pixels_of(name), _values(dicom_files.read(name))
    assert shown.dtype == expected.dtype
    difference = np.abs(shown.astype(int) - expected)
    assert difference.max() <= dicom_files.TOLERANCE.get(name, 0)


def test_there_is_a_file_of_every_transfer_syntax() -> None:
    found = {
        pydicom.dcmread(io.BytesIO(dicom_files.read(name))).file_meta.TransferSyntaxUID
        for name in dicom_files.NAMES
    }
    assert found | {pydicom.uid.ExplicitVRLittleEndian} == set(syntaxes.ALL)


@pytest.mark.parametrize(
    ('file', 'bits'),
    [
        ('JPGExtended.dcm', 12),
        ('JPEG-lossy.dcm', 12),
        ('MR_small_jp2klossless.dcm', 16),
        ('MR_small_jpeg_ls_lossless.dcm', 16),
        ('MR_small_RLE.dcm', 16),
        ('JPEG2000.dcm', 16),
    ],
)
def test_files_of_other_programs(file: str, bits: int) -> None:
    dataset = pydicom.dcmread(pydicom.data.get_testdata_file(file))
    shown = pixels.stored_values(dataset)
    assert shown.shape == (dataset.Rows, dataset.Columns)
    if file.startswith('MR_small'):
        plain = pydicom.dcmread(pydicom.data.get_testdata_file('MR_small.dcm'))
        np.testing.assert_array_equal(shown, plain.pixel_array)
    else:
        assert 0 < np.ptp(shown.astype(int)) < 2**bits


@pytest.mark.parametrize('signed', [False, True])
def test_bits_that_are_not_stored_do_not_count(signed: bool) -> None:
    values = (dicom_files.pixels(12).astype(int) - 2048 * signed).astype('<i2' if signed else '<u2')
    # An overlay in the highest bit, as old files have it, and values one bit up.
    raw = ((values.astype(np.uint16) & 0x0FFF) << 1) | 0x8000
    content = dicom_files.build(raw, BitsStored=12, HighBit=12, PixelRepresentation=int(signed))
    np.testing.assert_array_equal(_values(content), values)


@pytest.mark.parametrize('name', _COMPRESSED)
def test_pixels_that_are_cut_off_are_refused(name: str) -> None:
    frame = _frame(name)
    with pytest.raises(DicomError, match='cut off'):
        _values(_with_frame(name, frame[: len(frame) // 2]))


@pytest.mark.parametrize('name', _COMPRESSED)
def test_pixels_of_another_size_than_the_header_are_refused(name: str) -> None:
    with pytest.raises(DicomError, match='another size'):
        _values(_with_frame(name, _frame(name), Rows=65))


def test_pixels_of_another_kind_than_the_transfer_syntax_are_refused() -> None:
    with pytest.raises(DicomError, match='are JPEG-LS, but TransferSyntaxUID'):
        _values(_with_frame('jpeg_2000', _frame('jpeg_ls')))


def test_uncompressed_pixels_that_are_cut_off_are_refused() -> None:
    with pytest.raises(DicomError, match='cut off, 5,120 of 10,240 bytes'):
        _values(dicom_files.build(dicom_files.pixels(12)[:32], Rows=64))


@pytest.mark.parametrize('name', ['jpeg_lossless', 'jpeg_2000', 'jpeg_ls', 'jpeg_extended'])
def test_damaged_pixels_cost_one_image_and_not_the_process(name: str) -> None:
    frame = _frame(name)
    for seed in range(8):
        chance = random.Random(seed)
        damaged = bytearray(frame)
        for _ in range(chance.randint(1, 30)):
            damaged[chance.randrange(2, len(damaged) - 2)] = chance.randrange(256)
        content = _with_frame(name, bytes(damaged))
        try:
            assert _values(content).shape == dicom_files.pixels(12).shape
        except DicomError as error:
            assert 'compressed pixels' in str(error) or 'another size' in str(error)
    assert _values(dicom_files.read(name)).shape == dicom_files.pixels(12).shape


def test_a_decoder_that_was_killed_is_started_again() -> None:
    _values(dicom_files.read('jpeg_ls'))
    process = decoder._child.process
    assert process is not None
    os.kill(process.pid, 9)
    process.wait()
    np.testing.assert_array_equal(
        _values(dicom_files.read('jpeg_ls')), dicom_files.pixels_of('jpeg_ls')
    )
