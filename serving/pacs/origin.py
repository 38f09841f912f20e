"""What is kept of the header of a DICOM image so that an archive can file the report about it.

It identifies the patient, so it stays in files beside the images: none of it gets into the
database, the log or an answer of the gateway.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass, field

import pydicom

from records.dicom import header, values
from records.dicom.error import DicomError
from serving.image_formats.error import UploadError

# The patient and study of a report are those of its images.
TAGS = (
    'SpecificCharacterSet',
    'SOPClassUID',
    'SOPInstanceUID',
    'StudyInstanceUID',
    'SeriesInstanceUID',
    'PatientName',
    'PatientID',
    'IssuerOfPatientID',
    'PatientBirthDate',
    'PatientSex',
    'StudyDate',
    'StudyTime',
    'StudyID',
    'StudyDescription',
    'AccessionNumber',
    'ReferringPhysicianName',
    'Rows',
    'Columns',
)
# An archive files nothing without them, and the report has them even if they are empty.
_EVEN_IF_EMPTY = (
    'PatientName',
    'PatientID',
    'PatientBirthDate',
    'PatientSex',
    'StudyDate',
    'StudyTime',
    'StudyID',
    'AccessionNumber',
    'ReferringPhysicianName',
)
_MAX_UID = 64
_SEXES = ('M', 'F', 'O', '')
_FORMS = {'DA': pydicom.valuerep.DA, 'TM': pydicom.valuerep.TM}


@dataclass(frozen=True)
class Identity:
    """Which DICOM object a file is: UIDs, and the accession number, '' if it has none."""

    sop_class: str
    instance: str
    study: str
    accession: str = field(default='', repr=False)


def key(uid: str) -> str:
    """What the database has instead of a UID: it finds the object, and says nothing about it."""
    return hashlib.sha256(uid.encode()).hexdigest()


def identity(content: bytes) -> Identity:
    """The UIDs and the accession number of a DICOM file.

    Raises:
      UploadError: it cannot be read, or has none.
    """
    dataset = _header(content)
    uids = []
    for name in ('SOPClassUID', 'SOPInstanceUID', 'StudyInstanceUID'):
        uid = _text(dataset, name)
        if not uid or len(uid) > _MAX_UID or not set(uid) <= set('0123456789.'):
            raise UploadError(f'{values.name(name)} is missing or not a UID')
        uids.append(uid)
    sop_class, instance, study = uids
    return Identity(sop_class, instance, study, _text(dataset, 'AccessionNumber'))


def _text(dataset: pydicom.Dataset, name: str) -> str:
    try:
        return str(dataset.get(name, '') or '')
    except Exception:  # noqa: BLE001 - what a damaged value makes a library raise
        return ''


def extract(content: bytes) -> bytes:
    """The part of a DICOM file that is kept, as a DICOM file without pixels.

    Text becomes UTF-8. Dates, times and codes of sex that no report may have become empty: the
    report would not be made, or not be accepted, because of them.

    Raises:
      UploadError: values in it are damaged.
    """
    dataset = _header(content)
    kept = pydicom.Dataset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            for name in TAGS:
                if name in dataset and _may_be_reported(dataset[name]):
                    kept.add(dataset[name])
                elif name in _EVEN_IF_EMPTY:
                    setattr(kept, name, '')
            kept.decode()
            kept.SpecificCharacterSet = 'ISO_IR 192'
            meta = pydicom.dataset.FileMetaDataset()
            meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            meta.MediaStorageSOPClassUID = dataset.SOPClassUID
            meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            kept.file_meta = meta
            stream = io.BytesIO()
            pydicom.dcmwrite(stream, kept, enforce_file_format=True)
    except Exception:  # noqa: BLE001 - what damaged values make a library raise
        raise UploadError('the DICOM header cannot be read') from None
    return stream.getvalue()


def _may_be_reported(element: pydicom.DataElement) -> bool:
    if element.keyword == 'PatientSex':
        return element.value in _SEXES
    form = _FORMS.get(element.VR)
    if form is None or not element.value:
        return True
    try:
        form(element.value)
    except (TypeError, ValueError):
        return False
    return True


def _header(content: bytes) -> pydicom.Dataset:
    try:
        return header.read_header(content)
    except DicomError as error:
        raise UploadError(str(error)) from None


def read(content: bytes) -> pydicom.Dataset:
    """What `extract` made."""
    return pydicom.dcmread(io.BytesIO(content))
