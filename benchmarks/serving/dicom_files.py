"""Writes DICOM images as a modality would send them, of a patient who does not exist."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import DigitalXRayImageStorageForPresentation

from benchmarks.serving import images

SOP_CLASS = DigitalXRayImageStorageForPresentation
PATIENT = {
    'PatientName': 'Doe^Jane',
    'PatientID': 'BENCHMARK-1',
    'PatientBirthDate': '19500101',
    'PatientSex': 'F',
    'StudyDate': '20260102',
    'StudyTime': '101500',
    'StudyID': '1',
    'AccessionNumber': 'A-1',
    'ReferringPhysicianName': 'Roe^Richard',
    'BodyPartExamined': 'CHEST',
}


@dataclass(frozen=True)
class DicomImage:
    """A DICOM file, and the UIDs of its study and of itself."""

    path: Path
    study: str
    instance: str


def content(pixels: np.ndarray, study: str = '') -> bytes:
    """Unsigned pixels [height, width] as an image of a new study, or of `study`."""
    study = study or pydicom.uid.generate_uid()
    series = pydicom.uid.generate_uid()
    return images.dicom(pixels, StudyInstanceUID=study, SeriesInstanceUID=series, **PATIENT)


def image(path: Path, pixels: np.ndarray, study: str = '') -> DicomImage:
    """Writes unsigned pixels [height, width] as an image of a new study, or of `study`."""
    made = content(pixels, study)
    path.write_bytes(made)
    dataset = pydicom.dcmread(io.BytesIO(made), stop_before_pixels=True)
    return DicomImage(path, dataset.StudyInstanceUID, dataset.SOPInstanceUID)
