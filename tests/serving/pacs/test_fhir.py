"""FHIR reports: valid, complete, and with nothing of a patient but identifiers."""

from __future__ import annotations

import json
from typing import Any

import pydicom
import pytest
from fhir.resources.R4B import bundle

from benchmarks.serving import dicom_files
from serving.database.tables import Study
from serving.notice import RESEARCH_USE
from serving.pacs import fhir, origin
from serving.served_versions import Estimate, VersionInfo
from tests.support import gateways, report_receivers
from tests.support.answered_studies import answer, study

_INFO = VersionInfo(7, 0.31, 'nih_triage', '', sensitivity=Estimate(0.95, 0.93, 0.97))
_BASE = 'https://fhir.example/r4'


@pytest.fixture(scope='module')
def header() -> pydicom.Dataset:
    return origin.read(origin.extract(dicom_files.content(gateways.pixels(1))))


def _resources(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources of a bundle, each valid."""
    bundle.Bundle.model_validate(content)
    resources = [entry['resource'] for entry in content['entry']]
    for resource in resources:
        report_receivers.MODELS[resource['resourceType']].model_validate(resource)
    return resources


def _collection(assessed: Study, header: pydicom.Dataset | None = None) -> list[dict[str, Any]]:
    origins = {image.id: header for image in assessed.images} if header is not None else {}
    return _resources(fhir.collection(assessed, origins, _INFO))


def _components(resource: dict[str, Any]) -> dict[str, Any]:
    return {
        component['code']['text']: component.get('valueQuantity', {}).get('value')
        for component in resource['component']
    }


def test_a_report_has_the_answers_of_the_study_and_of_each_image() -> None:
    report, main, first, second = _collection(
        study(answer(0.875, findings={'Effusion': 0.25}), answer(0.125))
    )
    assert [r['resourceType'] for r in (report, main)] == ['DiagnosticReport', 'Observation']
    assert _components(main) == {'Probability': 0.875, 'Threshold Value': 0.31}
    assert _components(first)['Probability of Effusion'] == 0.25
    assert _components(second)['Probability'] == 0.125
    flags = [r['valueCodeableConcept']['text'] for r in (main, first, second)]
    assert flags == ['Flagged', 'Flagged', 'Not flagged']
    assert {r['status'] for r in (report, main, first, second)} == {'preliminary'}
    assert report['conclusion'] == f'{RESEARCH_USE}. Flagged: probability 0.875'
    assert all(r['note'] == [{'text': RESEARCH_USE}] for r in (main, first, second))
    assert 'operating point: flagged at a probability of 0.31' in main['method']['text']
    assert '0.930 to 0.970' in main['method']['text']
    assert main['device']['display'].endswith('model 7')


def test_what_was_not_assessed_has_a_reason_and_no_probability() -> None:
    report, main, _ = _collection(study(answer(None, 'not frontal')))
    assert report['conclusion'].endswith('Flagged, not assessed: not frontal')
    (probability,) = (c for c in main['component'] if c['code']['text'] == 'Probability')
    assert 'valueQuantity' not in probability
    assert probability['dataAbsentReason']['text'] == 'Not assessed: not frontal'


def test_references_lead_to_resources_of_the_bundle() -> None:
    content = fhir.collection(study(answer(0.5)), {}, _INFO)
    urls = {entry['fullUrl'] for entry in content['entry']}
    assert set(report_receivers.references(content)) == urls - {content['entry'][0]['fullUrl']}
    sent = json.loads(fhir.transaction(study(answer(0.5)), {}, _INFO, _BASE))
    _resources(sent)
    places = {entry['request']['url'] for entry in sent['entry']}
    assert {entry['request']['method'] for entry in sent['entry']} == {'PUT'}
    assert set(report_receivers.references(sent)) < places
    assert {entry['fullUrl'] for entry in sent['entry']} == {f'{_BASE}/{p}' for p in places}


def test_the_patient_is_there_by_identifiers_alone(header: pydicom.Dataset) -> None:
    report, main, image = _collection(study(answer(0.5)), header)
    for resource in (report, main, image):
        assert resource['subject']['identifier']['value'] == header.PatientID
    assert report['basedOn'][0]['identifier']['value'] == header.AccessionNumber
    study_uid = f'urn:oid:{header.StudyInstanceUID}'
    assert report['imagingStudy'][0]['identifier']['value'] == study_uid
    assert main['derivedFrom'][0]['identifier']['value'] == study_uid
    assert image['derivedFrom'][0]['identifier']['value'] == f'urn:oid:{header.SOPInstanceUID}'
    text = json.dumps([report, main, image])
    for name in ('PatientName', 'PatientBirthDate', 'StudyDate', 'ReferringPhysicianName'):
        value = str(header[name].value)
        assert value and value not in text


def test_without_a_header_nothing_says_whose_study_it_is() -> None:
    uploaded = study(answer(0.5))
    uploaded.reference = 'room 7'
    report, main, image = _collection(uploaded)
    assert not {'subject', 'basedOn', 'imagingStudy'} & report.keys()
    assert not {'subject', 'derivedFrom'} & (main.keys() | image.keys())
    assert report['identifier'][1]['value'] == 'room 7'


@pytest.mark.parametrize('name', ['PatientID', 'AccessionNumber'])
def test_an_empty_number_is_left_out(header: pydicom.Dataset, name: str) -> None:
    empty = pydicom.Dataset(header)
    setattr(empty, name, ' ')
    report, *_ = _collection(study(answer(0.5)), empty)
    assert {'PatientID': 'subject', 'AccessionNumber': 'basedOn'}[name] not in report


def test_the_same_answers_give_the_same_report(header: pydicom.Dataset) -> None:
    first, again = (
        fhir.transaction(study(answer(0.5)), {f'{0:032x}': header}, _INFO, _BASE) for _ in range(2)
    )
    assert first == again
