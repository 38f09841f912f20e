"""Chest images for the benchmarks of the service, as JPEG, PNG and DICOM."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from records import images as records_images

_SUFFIXES = frozenset({'.jpg', '.jpeg', '.png'})


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --images."""
    parser.add_argument(
        '--images',
        type=Path,
        nargs='+',
        default=[],
        metavar='PATH',
        help='PNG and JPEG files of chest X-rays, or folders of them (default: a few synthetic '
        'ones)',
    )


def load(paths: list[Path], count: int | None = None) -> list[bytes]:
    """The contents of image files, or of files in folders; without paths, synthetic images.

    Raises:
      SystemExit: there is no image.
    """
    if not paths:
        # Late, as it imports TensorFlow.
        from components.serving_check import sample_answers

        return sample_answers.images()[:count]
    files = [file for path in paths for file in _files(path)][:count]
    if not files:
        raise SystemExit(f'{paths[0]}: no PNG or JPEG there')
    return [file.read_bytes() for file in files]


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    else:
        yield path


def pixels(content: bytes) -> np.ndarray:
    """The grey levels of an encoded image, uint8 [height, width]."""
    with records_images.open_header(content) as image:
        return np.asarray(image.convert('L'))


def jpeg(grey: np.ndarray) -> bytes:
    """The JPEG of grey levels."""
    return _encoded(grey, 'JPEG', quality=90)


def png(grey: np.ndarray) -> bytes:
    """The PNG of grey levels."""
    return _encoded(grey, 'PNG')


def dicom(grey: np.ndarray, **tags: object) -> bytes:
    """The DICOM file of grey levels, uint8 or uint16; `tags` are set last."""
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.Modality, dataset.ViewPosition, dataset.PatientID = 'DX', 'PA', 'benchmark'
    dataset.Rows, dataset.Columns = grey.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, 'MONOCHROME2'
    dataset.BitsAllocated = dataset.BitsStored = 8 * grey.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = grey.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def _encoded(grey: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, kind, **options)
    return stream.getvalue()
