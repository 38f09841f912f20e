"""Takes out of a DICOM file everything but what is needed to show its pixels.

This goes further than the Basic Application Level Confidentiality Profile (PS3.15, annex E): that
one lists what to remove, this one what to keep.
"""

from __future__ import annotations

import io

import pydicom

from records.dicom.error import reading
from records.dicom.header import PREAMBLE

# All that is kept of a file: what its pixels are, and how they are shown.
TAGS = (
    'Modality',
    'BodyPartExamined',
    'ViewPosition',
    'PatientOrientation',
    'SamplesPerPixel',
    'PhotometricInterpretation',
    'NumberOfFrames',
    'Rows',
    'Columns',
    'BitsAllocated',
    'BitsStored',
    'HighBit',
    'PixelRepresentation',
    'PixelPaddingValue',
    'PixelPaddingRangeLimit',
    'RescaleIntercept',
    'RescaleSlope',
    'RescaleType',
    'WindowCenter',
    'WindowWidth',
    'VOILUTFunction',
    'PresentationLUTShape',
    'ModalityLUTSequence',
    'VOILUTSequence',
    'LossyImageCompression',
    'PixelData',
)
_LUT_TAGS = ('LUTDescriptor', 'ModalityLUTType', 'LUTData')


def stripped(dataset: pydicom.Dataset) -> bytes:
    """The DICOM file of a data set with `TAGS` alone.

    Raises:
      DicomError: values in it are damaged.
    """
    with reading('the DICOM file cannot be read'):
        return _written(_with_tags(dataset, TAGS), dataset.file_meta.TransferSyntaxUID)


def _with_tags(dataset: pydicom.Dataset, keywords: tuple[str, ...]) -> pydicom.Dataset:
    kept = pydicom.Dataset()
    for keyword in keywords:
        if keyword not in dataset:
            continue
        element = dataset[keyword]
        if element.VR == 'SQ':
            setattr(kept, keyword, [_with_tags(item, _LUT_TAGS) for item in element.value])
        else:
            kept.add(element)
    return kept


def _written(dataset: pydicom.Dataset, syntax: pydicom.uid.UID) -> bytes:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    file = pydicom.FileDataset(stream, dataset, preamble=b'\0' * PREAMBLE, file_meta=meta)
    pydicom.dcmwrite(stream, file, enforce_file_format=False)
    return stream.getvalue()
