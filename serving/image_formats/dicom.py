"""DICOM files: reads them within bounds, checks their headers and strips them."""

from __future__ import annotations

import io
import itertools
import warnings

import pydicom
from pydicom.filereader import read_partial
from pydicom.pixels import get_decoder

from serving.image_formats.error import UploadError

MAGIC, PREAMBLE = b'DICM', 128
_FRONTAL = frozenset({'PA', 'AP', 'AP AXIAL', 'PA AXIAL', ''})
_CHEST_MODALITIES = frozenset({'CR', 'DX', 'SC', 'RG', 'OT'})
_GREY = ('MONOCHROME1', 'MONOCHROME2')
# Everything in a DICOM file before the pixels; a larger header takes seconds to parse.
_MAX_HEADER_BYTES = 1 << 20
_MAX_ELEMENTS = 5_000
_ITEM = b'\xfe\xff\x00\xe0'  # the tag of an item of a sequence
_PIXEL_GROUP = 0x7FE00000
_PIXEL_DATA = 0x7FE00010
# Its data set is compressed: a small file may become gigabytes.
_DEFLATED = b'1.2.840.10008.1.2.1.99'
# All that is stored of a file: what its pixels are, and how they are shown.
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


def read(content: bytes) -> pydicom.Dataset:
    """The data set up to its pixels, after a look at the header alone.

    Raises:
      UploadError: it cannot be read.
    """
    if _DEFLATED in content[:_MAX_HEADER_BYTES]:
        raise UploadError('the DICOM file is deflated: send it with another transfer syntax')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            # First within bounds, so that no header can take long.
            if content.count(_ITEM, 0, _MAX_HEADER_BYTES) > _MAX_ELEMENTS:
                raise UploadError('the DICOM header has too many items in its sequences')
            head = io.BytesIO(content[:_MAX_HEADER_BYTES])
            elements = itertools.count(1)
            header = read_partial(
                head,
                lambda tag, vr, length: tag >= _PIXEL_GROUP or next(elements) > _MAX_ELEMENTS,
            )
            if next(elements) > _MAX_ELEMENTS:
                raise UploadError(f'the DICOM header has more than {_MAX_ELEMENTS:,} elements')
            if head.tell() >= _MAX_HEADER_BYTES and len(content) > _MAX_HEADER_BYTES:
                raise UploadError(f'the DICOM header has more than {_MAX_HEADER_BYTES:,} bytes')
            _check_header(header)
            return read_partial(io.BytesIO(content), lambda tag, vr, length: tag > _PIXEL_DATA)
    except UploadError:
        raise
    except Exception:  # noqa: BLE001 - what a damaged header makes a library raise
        # Its message may have a value of the header in it.
        raise UploadError('the DICOM header cannot be read') from None


def _check_header(header: pydicom.Dataset) -> None:
    modality = str(header.get('Modality', '') or '')[:16]
    if modality and modality not in _CHEST_MODALITIES:
        raise UploadError(f'Modality (0008,0060) is {modality}: expected a radiograph (CR or DX)')
    view = str(header.get('ViewPosition', '') or '')[:16]
    if view not in _FRONTAL:
        raise UploadError(f'ViewPosition (0018,5101) is {view}: expected a frontal view (PA or AP)')
    if int(header.get('NumberOfFrames', 1) or 1) != 1:
        raise UploadError('NumberOfFrames (0028,0008) is not 1: expected a single image')
    if 'Rows' not in header or 'Columns' not in header:
        raise UploadError('Rows (0028,0010) or Columns (0028,0011) is missing')
    if int(header.get('SamplesPerPixel', 1)) != 1 or (
        header.get('PhotometricInterpretation') not in _GREY
    ):
        raise UploadError(
            'PhotometricInterpretation (0028,0004): expected MONOCHROME1 or MONOCHROME2'
        )
    syntax = header.file_meta.get('TransferSyntaxUID')
    if syntax is None:
        raise UploadError('TransferSyntaxUID (0002,0010) is missing')
    if syntax.is_compressed and not _can_decode(syntax):
        raise UploadError(
            f'TransferSyntaxUID (0002,0010) is {syntax.name}, which cannot be decoded here: send '
            'the image uncompressed, or as JPEG Baseline, JPEG 2000 or RLE'
        )


def _can_decode(syntax: pydicom.uid.UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def size(content: bytes) -> tuple[int, int]:
    """Width and height by the header.

    Raises:
      UploadError: the file is not a single grey frontal radiograph that can be decoded here.
    """
    dataset = read(content)
    if 'PixelData' not in dataset:
        raise UploadError('PixelData (7FE0,0010) is missing')
    try:
        return int(dataset.Columns), int(dataset.Rows)
    except Exception:  # noqa: BLE001 - e.g. a list of values
        raise UploadError('Rows (0028,0010) or Columns (0028,0011) cannot be read') from None


def without_metadata(content: bytes) -> bytes:
    """The file with `TAGS` alone.

    Raises:
      UploadError: values in it are damaged.
    """
    dataset = read(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return _written(_with_tags(dataset, TAGS), dataset.file_meta.TransferSyntaxUID)
    except Exception:  # noqa: BLE001 - what damaged values make a library raise
        raise UploadError('the DICOM file cannot be read') from None


def _with_tags(dataset: pydicom.Dataset, keywords: tuple[str, ...]) -> pydicom.Dataset:
    stripped = pydicom.Dataset()
    for keyword in keywords:
        if keyword not in dataset:
            continue
        element = dataset[keyword]
        if element.VR == 'SQ':
            items = [_with_tags(item, _LUT_TAGS) for item in element.value]
            setattr(stripped, keyword, items)
        else:
            stripped.add(element)
    return stripped


def _written(dataset: pydicom.Dataset, syntax: pydicom.uid.UID) -> bytes:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    file = pydicom.FileDataset(stream, dataset, preamble=b'\0' * PREAMBLE, file_meta=meta)
    pydicom.dcmwrite(stream, file, enforce_file_format=False)
    return stream.getvalue()
