"""Makes DICOM files of images, as a modality would send them, of patients that do not exist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

SOP_CLASS = DigitalXRayImageStorageForPresentation


@dataclass(frozen=True)
class DicomImage:
    """A DICOM file, and the UIDs of its study and of itself."""

    path: Path
    study: str
    instance: str


def image(path: Path, pixels: np.ndarray, study: str = '') -> DicomImage:
    """Writes unsigned pixels [height, width] as an image of a new study, or of `study`."""
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = SOP_CLASS
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.StudyInstanceUID = study or pydicom.uid.generate_uid()
    dataset.SeriesInstanceUID = pydicom.uid.generate_uid()
    dataset.PatientName, dataset.PatientID = 'Doe^Jane', 'BENCHMARK-1'
    dataset.PatientBirthDate, dataset.PatientSex = '19500101', 'F'
    dataset.StudyDate, dataset.StudyTime = '20260102', '101500'
    dataset.StudyID, dataset.AccessionNumber = '1', 'A-1'
    dataset.ReferringPhysicianName = 'Roe^Richard'
    dataset.Modality, dataset.ViewPosition, dataset.BodyPartExamined = 'DX', 'PA', 'CHEST'
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, 'MONOCHROME2'
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = pixels.tobytes()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return DicomImage(path, dataset.StudyInstanceUID, dataset.SOPInstanceUID)
