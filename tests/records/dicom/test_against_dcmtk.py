"""The same grey levels and stored values as DCMTK, which shares no code with the reader."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from records.dicom import pixels, reader
from tests.support import dicom_files

_UNSIGNED, _SIGNED = dicom_files.pixels(12), dicom_files.pixels(16)
_WINDOW = {'WindowCenter': 2000, 'WindowWidth': 1500}
_MONOCHROME1 = {'PhotometricInterpretation': 'MONOCHROME1'}
# The programs of DCMTK that decompress.
_DECOMPRESS = {
    'jpeg_baseline': 'dcmdjpeg',
    'jpeg_extended': 'dcmdjpeg',
    'jpeg_lossless': 'dcmdjpeg',
    'jpeg_lossless_sv1': 'dcmdjpeg',
    'jpeg_lossless_signed': 'dcmdjpeg',
    'jpeg_ls': 'dcmdjpls',
    'jpeg_ls_near': 'dcmdjpls',
    'rle': 'dcmdrle',
}


@pytest.fixture(autouse=True)
def _dcmtk() -> None:
    if not shutil.which('dcm2pnm'):
        if os.environ.get('CXR_REQUIRE_ARCHIVE'):
            pytest.fail('dcm2pnm is missing: install dcmtk')
        pytest.skip('needs dcmtk')


def _table(values: np.ndarray, bits: int) -> list[pydicom.Dataset]:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [len(values), 0, bits], 'US'
    table.LUTData = values.astype('<u2').tobytes()
    return [table]


@pytest.mark.parametrize(
    ('tags', 'option'),
    [
        (_WINDOW, '+Wi'),
        ({**_WINDOW, 'RescaleSlope': 2, 'RescaleIntercept': -1000}, '+Wi'),
        ({'WindowCenter': -500, 'WindowWidth': 9000}, '+Wi'),
        ({**_WINDOW, 'VOILUTFunction': 'SIGMOID'}, '+Wi'),
        ({**_WINDOW, **_MONOCHROME1}, '+Wi'),
        ({**_WINDOW, **_MONOCHROME1, 'PresentationLUTShape': 'INVERSE'}, '+Wi'),
        ({**_WINDOW, **_MONOCHROME1, 'PresentationLUTShape': 'IDENTITY'}, '+Wi'),
        ({**_WINDOW, 'PresentationLUTShape': 'INVERSE'}, '+Wi'),
        ({'VOILUTSequence': _table(np.sqrt(np.linspace(0, 1, 4096)) * 4095, 12)}, '+Wl'),
        (
            {
                **{'WindowCenter': 20_000, 'WindowWidth': 30_000},
                'ModalityLUTSequence': _table(np.linspace(0, 1, 4096) ** 2 * 65_535, 16),
            },
            '+Wi',
        ),
    ],
    ids=[
        'window', 'rescaled', 'signed', 'sigmoid', 'MONOCHROME1', 'MONOCHROME1 INVERSE',
        'MONOCHROME1 IDENTITY', 'MONOCHROME2 INVERSE', 'VOI table', 'modality table',
    ],
)  # fmt: skip
def test_the_grey_levels_are_those_of_dcm2pnm(tags: dict, option: str, tmp_path: Path) -> None:
    image = _SIGNED if tags.get('WindowCenter', 0) < 0 else _UNSIGNED
    content = dicom_files.build(image, BitsStored=16 if image is _SIGNED else 12, **tags)
    file, shown = tmp_path / 'a.dcm', tmp_path / 'a.pgm'
    file.write_bytes(content)
    subprocess.run(['dcm2pnm', '-q', option, '1', file, shown], check=True)
    expected = np.asarray(Image.open(shown)).astype(int)
    # It rounds down, the reader to the nearest level.
    assert np.abs(reader.read(content).render().pixels - expected).max() <= 1


@pytest.mark.parametrize('name', _DECOMPRESS)
def test_the_values_are_those_that_dcmtk_decompresses(name: str, tmp_path: Path) -> None:
    plain = tmp_path / 'plain.dcm'
    file = dicom_files.FOLDER / f'{name}.dcm'
    subprocess.run([_DECOMPRESS[name], file, plain], check=True)
    own = pixels.stored_values(reader.read(file.read_bytes()).dataset)
    np.testing.assert_array_equal(own, pydicom.dcmread(plain).pixel_array)
