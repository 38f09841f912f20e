"""The report about a study as FHIR R4: a DiagnosticReport and its Observations.

There is an Observation for the study and one for each image, as there are groups in the DICOM
report. Ids follow from the study, so whoever makes the report again gets the same resources. Of
the patient there are identifiers alone, in references: no name, no date, no sex.
"""

from __future__ import annotations

import json
from typing import Any

import pydicom

from serving.database.tables import Image, Study
from serving.notice import RESEARCH_USE
from serving.pacs import assessed, concepts
from serving.pacs.concepts import Concept
from serving.served_versions import VersionInfo

MEDIA_TYPE = 'application/fhir+json'
_SYSTEMS = {
    'SCT': 'http://snomed.info/sct',
    'DCM': 'http://dicom.nema.org/resources/ontology/DCM',
    concepts.SCHEME: f'urn:uuid:{concepts.NAMESPACE}',
}
_HL7 = 'http://terminology.hl7.org/CodeSystem'
_UIDS, _URIS, _UNITS = 'urn:dicom:uid', 'urn:ietf:rfc:3986', 'http://unitsofmeasure.org'
_REPORT, _OBSERVATION = 'DiagnosticReport', 'Observation'
# Neither a person nor another system has verified it.
_STATUS = 'preliminary'

Resource = dict[str, Any]
Origins = dict[str, pydicom.Dataset]


def collection(study: Study, origins: Origins, info: VersionInfo) -> Resource:
    """The report as a Bundle that says nothing about where its resources are.

    Args:
      study: with its images and answers, assessed.
      origins: image id -> what is kept of its header; may be empty.
      info: what is on record about the version that answered.
    """
    resources = _Report(study, origins, info, '').resources()
    entries = [{'fullUrl': f'urn:uuid:{r["id"]}', 'resource': r} for r in resources]
    return {'resourceType': 'Bundle', 'type': 'collection', 'entry': entries}


def transaction(study: Study, origins: Origins, info: VersionInfo, base: str) -> bytes:
    """The report as a Bundle for a FHIR server, which takes all of it or nothing.

    Each resource is put under its id, so a server that gets the Bundle twice has it once.

    Args:
      study, origins, info: see `collection`.
      base: the URL of the server.
    """
    entries = []
    for resource in _Report(study, origins, info, base).resources():
        place = f'{resource["resourceType"]}/{resource["id"]}'
        request = {'method': 'PUT', 'url': place}
        entries.append({'fullUrl': f'{base}/{place}', 'resource': resource, 'request': request})
    bundle = {'resourceType': 'Bundle', 'type': 'transaction', 'entry': entries}
    return json.dumps(bundle).encode()


class _Report:
    """The resources of a report, which refer to each other below `base`, or by UUID if it is ''."""

    def __init__(self, study: Study, origins: Origins, info: VersionInfo, base: str):
        self._study, self._origins, self._info, self._base = study, origins, info, base
        assert study.scored_at is not None
        self._issued = study.scored_at.isoformat()
        self._header = next((origins[i.id] for i in study.images if i.id in origins), None)

    def resources(self) -> list[Resource]:
        """The DiagnosticReport, followed by the Observations of the study and of each image."""
        study = self._study
        whole = assessed.of_study(study)
        images = [
            self._observation(
                image.id,
                assessed.StudyAnswer(
                    answer.probability, answer.flag, answer.reason, answer.threshold
                ),
                answer.version,
                answer.findings,
                self._image_parts(image),
            )
            for image, answer in assessed.images(study)
        ]
        members = [self._reference(_OBSERVATION, image['id']) for image in images]
        parts = {**self._study_parts(), 'hasMember': members}
        main = self._observation(study.id, whole, study.version, {}, parts)
        report = {
            'resourceType': _REPORT,
            'id': _id(study.id, _REPORT),
            'identifier': self._identifiers(),
            **self._order(),
            'status': _STATUS,
            'category': [_coded(f'{_HL7}/v2-0074', 'RAD')],
            'code': _concept(concepts.CHEST_XRAY),
            **self._subject(),
            'issued': self._issued,
            'result': [self._reference(_OBSERVATION, main['id'])],
            **({'imagingStudy': [self._imaging_study()]} if self._header is not None else {}),
            'conclusion': f'{RESEARCH_USE}. {_conclusion(whole)}',
        }
        return [report, main, *images]

    def _observation(
        self,
        subject: str,
        answer: assessed.StudyAnswer,
        version: int | None,
        findings: dict[str, float],
        parts: Resource,
    ) -> Resource:
        figures = [(concepts.PROBABILITY, answer.probability)]
        figures += [(concepts.PROBABILITY_OF[name], value) for name, value in findings.items()]
        if answer.threshold is not None:
            figures.append((concepts.THRESHOLD, answer.threshold))
        method = assessed.parameters(version, answer.threshold, self._info)
        return {
            'resourceType': _OBSERVATION,
            'id': _id(subject, _OBSERVATION),
            'status': _STATUS,
            'category': [_coded(f'{_HL7}/observation-category', 'imaging')],
            'code': _concept(concepts.FLAG),
            **self._subject(),
            'issued': self._issued,
            'valueCodeableConcept': _concept(
                concepts.FLAGGED if answer.flag else concepts.NOT_FLAGGED
            ),
            'note': [{'text': RESEARCH_USE}],
            **({'method': {'text': '; '.join(method)}} if method else {}),
            'device': {'display': f'{concepts.PRODUCT} {assessed.software(version)}'},
            **parts,
            'component': [_figure(name, value, answer.reason) for name, value in figures],
        }

    def _reference(self, kind: str, id: str) -> Resource:
        return {'reference': f'{kind}/{id}' if self._base else f'urn:uuid:{id}'}

    def _identifiers(self) -> list[Resource]:
        own = {'system': _URIS, 'value': f'urn:uuid:{_id(self._study.id, _REPORT)}'}
        reference = self._study.reference.strip() if self._study.reference else ''
        return [own, {'use': 'secondary', 'value': reference}] if reference else [own]

    def _subject(self) -> Resource:
        """The patient, by number."""
        identifier = self._identifier('MR', 'PatientID', 'IssuerOfPatientID')
        return {'subject': {'type': 'Patient', 'identifier': identifier}} if identifier else {}

    def _order(self) -> Resource:
        """What asked for the study, by accession number."""
        identifier = self._identifier('ACSN', 'AccessionNumber')
        if not identifier:
            return {}
        return {'basedOn': [{'type': 'ServiceRequest', 'identifier': identifier}]}

    def _identifier(self, kind: str, name: str, issuer: str = '') -> Resource:
        value, assigner = _text(self._header, name), _text(self._header, issuer)
        if not value:
            return {}
        who = {'assigner': {'display': assigner}} if assigner else {}
        return {'type': _coded(f'{_HL7}/v2-0203', kind), 'value': value, **who}

    def _imaging_study(self) -> Resource:
        return _by_uid('ImagingStudy', _text(self._header, 'StudyInstanceUID'))

    def _study_parts(self) -> Resource:
        return {'derivedFrom': [self._imaging_study()]} if self._header is not None else {}

    def _image_parts(self, image: Image) -> Resource:
        origin = self._origins.get(image.id)
        if origin is None:
            return {}
        return {'derivedFrom': [_by_uid('Media', _text(origin, 'SOPInstanceUID'))]}


def _id(*parts: str) -> str:
    return str(concepts.stable_uuid(*parts))


def _conclusion(answer: assessed.StudyAnswer) -> str:
    flag = concepts.FLAGGED if answer.flag else concepts.NOT_FLAGGED
    if answer.probability is None or answer.reason:
        return f'{flag.meaning}, not assessed: {answer.reason}'
    return f'{flag.meaning}: probability {answer.probability:.3f}'


def _figure(name: Concept, value: float | None, reason: str) -> Resource:
    component: Resource = {'code': _concept(name)}
    if value is None:
        absent = _coded(f'{_HL7}/data-absent-reason', 'not-performed')
        return {**component, 'dataAbsentReason': {**absent, 'text': f'Not assessed: {reason}'}}
    return {**component, 'valueQuantity': {'value': value, 'system': _UNITS, 'code': '1'}}


def _concept(concept: Concept) -> Resource:
    coding = {
        'system': _SYSTEMS[concept.scheme],
        'code': concept.value,
        'display': concept.meaning,
    }
    return {'coding': [coding], 'text': concept.meaning}


def _coded(system: str, code: str) -> Resource:
    return {'coding': [{'system': system, 'code': code}]}


def _by_uid(kind: str, uid: str) -> Resource:
    return {'type': kind, 'identifier': {'system': _UIDS, 'value': f'urn:oid:{uid}'}}


def _text(header: pydicom.Dataset | None, name: str) -> str:
    return str(header.get(name, '') or '').strip() if header is not None and name else ''
