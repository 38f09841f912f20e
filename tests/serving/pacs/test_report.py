"""Reports: their content, and that the same answers give the same report."""

from __future__ import annotations

import io

import pydicom
import pytest

from benchmarks.serving import dicom_files
from serving.database.tables import Study
from serving.notice import RESEARCH_USE
from serving.pacs import origin, report
from serving.served_versions import Estimate, VersionInfo
from tests.support import gateways
from tests.support.answered_studies import answer, study

_INFO = VersionInfo(7, 0.31, 'nih_triage', '', sensitivity=Estimate(0.95, 0.93, 0.97))


@pytest.fixture(scope='module')
def header() -> pydicom.Dataset:
    return origin.read(origin.extract(dicom_files.content(gateways.pixels(1))))


def _build(reported: Study, header: pydicom.Dataset, *revisions: int) -> pydicom.Dataset:
    origins = {image.id: header for image in reported.images}
    return pydicom.dcmread(io.BytesIO(report.build(reported, origins, _INFO, revisions or (1,))))


def _items(dataset: pydicom.Dataset, name: str) -> list[pydicom.Dataset]:
    """The content items with a name, at any depth."""
    found = []
    for item in dataset.get('ContentSequence', []):
        if item.ConceptNameCodeSequence[0].CodeMeaning == name:
            found.append(item)
        found += _items(item, name)
    return found


def _codes(document: pydicom.Dataset, name: str) -> list[str]:
    return [item.ConceptCodeSequence[0].CodeMeaning for item in _items(document, name)]


def _numbers(document: pydicom.Dataset, name: str) -> list[float]:
    return [float(i.MeasuredValueSequence[0].NumericValue) for i in _items(document, name)]


def test_a_report_has_the_answers_of_the_study_and_of_each_image(header: pydicom.Dataset) -> None:
    document = _build(study(answer(0.875), answer(0.125)), header, 2)
    assert document.PatientID == 'BENCHMARK-1'
    assert document.StudyInstanceUID == header.StudyInstanceUID
    assert _numbers(document, 'Probability') == [0.875, 0.875, 0.125]
    assert _numbers(document, 'Threshold Value') == [0.31, 0.31, 0.31]
    assert _codes(document, 'Triage flag') == ['Flagged', 'Flagged', 'Not flagged']
    assert _codes(document, 'Intended use') == [RESEARCH_USE] * 3
    assert RESEARCH_USE in document.SeriesDescription
    parameters = {item.TextValue for item in _items(document, 'Algorithm Parameters')}
    assert 'operating point: flagged at a probability of 0.31 or more' in parameters
    assert any('sensitivity' in text and '0.930 to 0.970' in text for text in parameters)
    assert (document.VerificationFlag, document.PreliminaryFlag) == ('UNVERIFIED', 'PRELIMINARY')


def test_what_was_not_assessed_has_a_reason_and_no_probability(header: pydicom.Dataset) -> None:
    document = _build(study(answer(None, 'not frontal')), header)
    assert _numbers(document, 'Probability') == []
    assert _codes(document, 'Assessment') == ['Not assessed: not frontal'] * 2
    assert _codes(document, 'Triage flag') == ['Flagged', 'Flagged']


def test_findings_have_a_probability_each(header: pydicom.Dataset) -> None:
    document = _build(
        study(answer(0.5, findings={'Effusion': 0.25, 'Pleural_Thickening': 0.125})), header
    )
    assert _numbers(document, 'Probability of Effusion') == [0.25]
    assert _numbers(document, 'Probability of Pleural Thickening') == [0.125]


def test_the_same_answers_give_the_same_report(header: pydicom.Dataset) -> None:
    first, again = (_build(study(answer(0.5)), header) for _ in range(2))
    assert first == again
    assert first.SOPInstanceUID == report.instance_uid('ab' * 16, 1)


def test_a_later_report_names_the_earlier_one(header: pydicom.Dataset) -> None:
    earlier = _build(study(answer(0.5)), header, 1)
    later = _build(study(answer(0.5), answer(0.2)), header, 1, 2)
    assert earlier.SeriesInstanceUID == later.SeriesInstanceUID
    assert earlier.SOPInstanceUID != later.SOPInstanceUID
    (earlier_study,) = later.PredecessorDocumentsSequence
    (reference,) = earlier_study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
