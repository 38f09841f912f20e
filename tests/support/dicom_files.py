"""DICOM files of one small image in every transfer syntax that the reader decodes.

`python -m tests.support.dicom_files` writes them to tests/records/dicom/files again. It needs the
tools of DCMTK and GDCM (Debian: `dcmtk`, `libgdcm-tools`), other programs than the decoders of the
reader except for JPEG 2000.
"""

from __future__ import annotations

import functools
import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from records import synth

FOLDER = Path(__file__).resolve().parents[1] / 'records' / 'dicom' / 'files'
_SIDE = 80
_COMMANDS = {
    'jpeg_baseline': (8, 'dcmcjpeg +eb +q 100'),
    'jpeg_extended': (12, 'dcmcjpeg +ee +q 100'),
    'jpeg_lossless': (12, 'dcmcjpeg +el'),
    'jpeg_lossless_sv1': (12, 'dcmcjpeg +e1'),
    'jpeg_lossless_signed': (16, 'dcmcjpeg +e1'),
    'jpeg_ls': (12, 'dcmcjpls +el'),
    'jpeg_ls_near': (12, 'dcmcjpls +en +md 2'),
    'jpeg_2000': (12, 'gdcmconv --j2k'),
    'jpeg_2000_signed': (16, 'gdcmconv --j2k'),
    'jpeg_2000_lossy': (8, 'gdcmconv --j2k --lossy -q 45'),
    'rle': (12, 'dcmcrle'),
    'deflated': (12, 'dcmconv +td'),
    'implicit': (12, 'dcmconv +ti'),
    'big_endian': (12, 'dcmconv +tb'),
    'big_endian_bytes': (8, 'dcmconv +tb'),
}
NAMES = tuple(_COMMANDS)
# How far the values of files with loss may be off.
TOLERANCE = {'jpeg_baseline': 2, 'jpeg_extended': 8, 'jpeg_ls_near': 2, 'jpeg_2000_lossy': 8}


@functools.cache
def pixels(bits: int) -> np.ndarray:
    """The image with 8 or 12 bits, unsigned, or 16, signed; [height, width]."""
    grey = synth.phantom(patient=3, size=_SIDE)[:-16].astype(np.int64)
    # dcmcjpeg spreads the values over all levels before it compresses with loss; here they are.
    grey = (grey - grey.min()) * 255 // (grey.max() - grey.min())
    noise = np.random.default_rng(1).integers(0, 16, grey.shape)
    if bits == 8:
        return grey.astype(np.uint8)
    if bits == 12:
        return (16 * grey + noise).astype(np.uint16)
    return (100 * grey + noise - 12_000).astype(np.int16)


def pixels_of(name: str) -> np.ndarray:
    """The image that a file was made of."""
    return pixels(_COMMANDS[name][0])


def read(name: str) -> bytes:
    """One of the files."""
    return (FOLDER / f'{name}.dcm').read_bytes()


def build(image: np.ndarray, **tags: Any) -> bytes:
    """The DICOM file of pixels [height, width], with no more than its pixels need.

    `tags` are set last; None removes one.
    """
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = '1.2.3.4'
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = '1.2.3', '1.2.3.1'
    dataset.Modality, dataset.ViewPosition = 'DX', 'PA'
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, 'MONOCHROME2'
    dataset.BitsAllocated = dataset.BitsStored = 8 * image.itemsize
    dataset.PixelRepresentation = int(image.dtype.kind == 'i')
    dataset.PixelData = image.astype(image.dtype.newbyteorder('<')).tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    if 'HighBit' not in tags:
        dataset.HighBit = dataset.BitsStored - 1
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _write_all() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, (bits, command) in _COMMANDS.items():
        raw, out = FOLDER / 'raw.dcm', FOLDER / f'{name}.dcm'
        raw.write_bytes(build(pixels(bits), BitsStored=bits))
        subprocess.run([*command.split(), raw, out], check=True)
        raw.unlink()


if __name__ == '__main__':
    _write_all()
