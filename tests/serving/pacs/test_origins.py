"""What is kept of a header: enough for a report, whatever the header has in it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.serving import dicom_files, images
from serving.image_formats.error import UploadError
from serving.pacs import origin
from tests.support import gateways

_UIDS = {'StudyInstanceUID': '1.2.3', 'SeriesInstanceUID': '1.2.4', 'SOPInstanceUID': '1.2.5'}


def _file(**tags: Any) -> bytes:
    return images.dicom(gateways.pixels(1), **{**dicom_files.PATIENT, **_UIDS, **tags})


@pytest.mark.parametrize(
    ('charset', 'name'),
    [
        ('ISO_IR 100', 'Müller^Jörg'),
        ('ISO_IR 192', '山田^太郎'),
        (['', 'ISO 2022 IR 87'], 'Yamada^Tarou=山田^太郎'),
        ('ISO_IR 144', 'Люкceмбypг'),
        ('NONSENSE', 'Doe^Jane'),
    ],
    ids=str,
)
@pytest.mark.filterwarnings('ignore')
def test_text_becomes_utf_8(charset: Any, name: str) -> None:
    kept = origin.read(origin.extract(_file(SpecificCharacterSet=charset, PatientName=name)))
    assert (kept.SpecificCharacterSet, str(kept.PatientName)) == ('ISO_IR 192', name)


@pytest.mark.parametrize(
    ('keyword', 'value'),
    [
        ('StudyDate', '2026-01-02'),
        ('StudyTime', '25:61'),
        ('PatientBirthDate', '19xx'),
        ('PatientSex', 'female'),
    ],
)
@pytest.mark.filterwarnings('ignore')
def test_what_no_report_may_have_becomes_empty(keyword: str, value: str) -> None:
    kept = origin.read(origin.extract(_file(**{keyword: value})))
    assert kept[keyword].value in ('', None)
    assert kept.PatientID == dicom_files.PATIENT['PatientID']


def test_pixels_and_other_attributes_are_not_kept() -> None:
    content = _file(PatientAddress='Nightingale Lane 7', OperatorsName='Roe^Richard')
    kept = origin.read(origin.extract(content))
    assert {element.keyword for element in kept} <= {*origin.TAGS}
    assert origin.identity(content).study == '1.2.3'


@pytest.mark.parametrize('uid', ['', '1.2.x', '1' * 65, '../../etc'])
def test_a_file_without_a_usable_uid_is_refused(uid: str) -> None:
    with pytest.raises(
        UploadError, match=r'StudyInstanceUID \(0020,000D\) is missing or not a UID'
    ):
        origin.identity(_file(StudyInstanceUID=uid))


def test_a_uid_of_a_damaged_type_is_refused() -> None:
    damaged = _file().replace(b'\x08\x00\x18\x00UI', b'\x08\x00\x18\x00XX')
    with pytest.raises(UploadError, match='SOPInstanceUID'):
        origin.identity(damaged)
