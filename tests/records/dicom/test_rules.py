"""What is accepted, noted and refused, and that the docs say so."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from records.dicom import reader, rules, syntaxes, values
from records.dicom.error import DicomError
from tests.support import dicom_files

_PAGE = Path(__file__).resolve().parents[3] / 'docs' / 'dicom.md'
_PIXELS = dicom_files.pixels(8)
_PLAIN = dicom_files.build(_PIXELS)


def _item(**tags: object) -> list[pydicom.Dataset]:
    item = pydicom.Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return [item]


def test_a_digital_radiograph_has_no_notes() -> None:
    assert reader.read(_PLAIN).notes == ()
    assert reader.read(_PLAIN).size == (80, 64)


@pytest.mark.parametrize(
    ('tags', 'message'),
    [
        ({'Modality': 'CT'}, r'Modality \(0008,0060\) is CT'),
        ({'ViewPosition': 'LL'}, r'ViewPosition \(0018,5101\) is LL: expected a frontal view'),
        ({'ViewPosition': 'RLD'}, 'ViewPosition'),
        ({'ViewPosition': '', 'ViewCodeSequence': _item(CodeValue='399173006')}, 'ViewCode'),
        ({'ViewPosition': 'PA', 'ViewCodeSequence': _item(CodeValue='R-10236')}, 'ViewCode'),
        ({'PatientOrientation': ['A', 'F']}, 'PatientOrientation .* side'),
        ({'PresentationIntentType': 'FOR PROCESSING'}, 'PresentationIntentType'),
        ({'QualityControlImage': 'YES'}, 'QualityControlImage'),
        ({'BurnedInAnnotation': 'YES'}, 'BurnedInAnnotation'),
        ({'NumberOfFrames': 2}, 'NumberOfFrames'),
        ({'SamplesPerPixel': 3}, 'SamplesPerPixel'),
        ({'PhotometricInterpretation': 'RGB'}, 'PhotometricInterpretation'),
        ({'PhotometricInterpretation': None}, 'PhotometricInterpretation'),
        ({'Rows': None}, 'Rows'),
        ({'Columns': 0}, 'Columns'),
        ({'PixelAspectRatio': ['4', '3']}, 'PixelAspectRatio'),
        ({'BitsAllocated': 32}, 'BitsAllocated'),
        ({'BitsStored': 7}, 'BitsStored'),
        ({'HighBit': 5}, 'HighBit'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)  # fmt: skip
def test_a_refusal_names_the_attribute(tags: dict, message: str) -> None:
    with pytest.raises(DicomError, match=message):
        reader.read(dicom_files.build(_PIXELS, **tags))


@pytest.mark.parametrize(
    ('tags', 'note'),
    [
        ({'Modality': 'SC'}, 'Modality'),
        ({'Modality': None}, 'Modality'),
        ({'ViewPosition': None}, 'ViewPosition'),
        ({'ViewPosition': 'SCHMITT'}, 'ViewPosition'),
        ({'ImageType': ['DERIVED', 'SECONDARY']}, 'ImageType'),
        ({'LossyImageCompression': '01'}, 'LossyImageCompression'),
        ({'BodyPartExamined': 'ABDOMEN'}, 'BodyPartExamined'),
        ({'PatientOrientation': ['R', 'F']}, 'PatientOrientation'),
        ({'PresentationLUTShape': 'INVERSE'}, 'PresentationLUTShape'),
        ({'PixelRepresentation': None}, 'PixelRepresentation'),
        ({'WindowCenter': [1, 2], 'WindowWidth': [1, 2]}, 'WindowCenter'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_a_note_names_the_attribute(tags: dict, note: str) -> None:
    (text,) = reader.read(dicom_files.build(_PIXELS, **tags)).notes
    assert text.startswith(values.name(note))


@pytest.mark.parametrize(
    'tags',
    [
        {'ViewPosition': '', 'ViewCodeSequence': _item(CodeValue='272479007')},
        {'ViewPosition': 'AP AXIAL'},
        {'ImageType': ['DERIVED', 'PRIMARY']},
        {'PatientOrientation': ['L', 'F']},
        {'BodyPartExamined': 'CHEST'},
        {'PixelAspectRatio': ['1', '1']},
        {'NumberOfFrames': 1},
        {'BurnedInAnnotation': 'NO'},
        {'PhotometricInterpretation': 'MONOCHROME1', 'PresentationLUTShape': 'INVERSE'},
    ],
    ids=lambda tags: next(iter(tags)),
)
def test_usual_values_have_no_note(tags: dict) -> None:
    assert reader.read(dicom_files.build(_PIXELS, **tags)).notes == ()


def test_no_message_has_text_of_the_header() -> None:
    for keyword in ('Modality', 'ViewPosition', 'BodyPartExamined', 'PhotometricInterpretation'):
        content = dicom_files.build(_PIXELS, **{keyword: 'Quentin^Zzyzx'})
        try:
            texts = reader.read(content).notes
        except DicomError as error:
            texts = (str(error),)
        assert texts and not any('Quentin' in text or 'QUENTIN' in text for text in texts)


def test_the_docs_have_the_rules_and_the_transfer_syntaxes() -> None:
    page = _PAGE.read_text(encoding='utf-8')
    assert rules.as_markdown() in page, rules.as_markdown()
    for syntax in syntaxes.ALL:
        assert f'`{syntax}`' in page, syntax
