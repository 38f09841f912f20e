"""The report about a study: a DICOM structured report by template TID 1500.

It follows the profile AI Results of IHE: a group for the study and one for each image, with
finding, probability, operating point, flag, algorithm and the images that they are about.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence

import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

import pipeline
from serving import studies
from serving.database.tables import NOT_ASSESSED, Answer, Image, Study
from serving.served_versions import Estimate, VersionInfo

MANUFACTURER, MODEL = 'cxr-triage', 'cxr-triage'
RESEARCH_USE = 'Research use only, not for clinical use'
SERIES_DESCRIPTION = f'Chest X-ray triage. {RESEARCH_USE}'
_SERIES_NUMBER = 99
# Names in a UUID of version 5: whoever makes a report of a study again gives it the same UID.
_NAMESPACE = uuid.UUID('6a3c0e0b-5f6f-4b0c-9a58-1f0d3d0c7e11')
# Codes that no standard has.
_SCHEME = '99CXRTRIAGE'
_FLAG = Code('flag', _SCHEME, 'Triage flag')
_FLAGGED = Code('flagged', _SCHEME, 'Flagged')
_NOT_FLAGGED = Code('not-flagged', _SCHEME, 'Not flagged')
_ASSESSMENT = Code('assessment', _SCHEME, 'Assessment')
_ASSESSED = Code('assessed', _SCHEME, 'Assessed')
_INTENDED_USE = Code('intended-use', _SCHEME, 'Intended use')
_RESEARCH = Code('research', _SCHEME, RESEARCH_USE)
_CHEST_XRAY = Code('399208008', 'SCT', 'Plain chest X-ray')
_MAX_MEANING = 64


def uid(*parts: object) -> str:
    """A UID that follows from its parts."""
    name = '/'.join(str(part) for part in parts)
    return f'2.25.{uuid.uuid5(_NAMESPACE, name).int}'


def instance_uid(study: str, images: int) -> str:
    """The SOP Instance UID of the report about a study (its public id) with this many images."""
    return uid(study, 'report', images)


def build(
    study: Study,
    origins: dict[str, pydicom.Dataset],
    info: VersionInfo,
    revisions: Sequence[int],
) -> bytes:
    """The report, as a DICOM file; the same for the same study and answers.

    Args:
      study: with its images and answers.
      origins: image id -> what is kept of its header; of at least one image.
      info: what is on record about the version that answered.
      revisions: the number of images of each report about the study; the last one is this.
    """
    evidence = [origins[image.id] for image in study.images if image.id in origins]
    when = study.scored_at
    assert when is not None
    document = sr.ComprehensiveSR(
        evidence=evidence,
        content=_content(study, origins, info),
        series_instance_uid=uid(study.id, 'series'),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=instance_uid(study.id, revisions[-1]),
        instance_number=len(revisions),
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=f'{pipeline.__version__}, model {study.version}',
        device_serial_number=str(study.version),
        series_description=SERIES_DESCRIPTION,
        is_complete=True,
        is_final=False,
        previous_versions=[_reference(study, evidence[0], images) for images in revisions[:-1]]
        or None,
    )
    for name in ('ContentDate', 'InstanceCreationDate', 'SeriesDate'):
        setattr(document, name, when.strftime('%Y%m%d'))
    for name in ('ContentTime', 'InstanceCreationTime', 'SeriesTime'):
        setattr(document, name, when.strftime('%H%M%S'))
    document.TimezoneOffsetFromUTC = '+0000'
    for item in document.get('ContributingEquipmentSequence', []):
        item.ContributionDateTime = when.strftime('%Y%m%d%H%M%S')
    stream = io.BytesIO()
    document.save_as(stream)
    return stream.getvalue()


def _content(
    study: Study, origins: dict[str, pydicom.Dataset], info: VersionInfo
) -> sr.MeasurementReport:
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=uid('device'), name=MODEL, manufacturer_name=MANUFACTURER, model_name=MODEL
        ),
    )
    answers = {image.id: _stable(image) for image in study.images}
    images = [(image, answers[image.id]) for image in study.images]
    reason = next((a.reason for _, a in images if a and a.reason), '')
    threshold = next((a.threshold for _, a in images if a and a.threshold is not None), None)
    groups = [
        _group(
            uid(study.id, 'finding'),
            'Study',
            _algorithm(study.version, threshold, info),
            study.probability,
            bool(study.flag),
            reason if study.state == NOT_ASSESSED else '',
            threshold,
            list(origins.values()),
        )
    ]
    for image, answer in images:
        if answer is None:
            continue
        source = [origins[image.id]] if image.id in origins else []
        groups.append(
            _group(
                uid(image.id, 'finding'),
                f'Image {image.position + 1}',
                _algorithm(answer.version, answer.threshold, info),
                answer.probability,
                answer.flag,
                answer.reason,
                answer.threshold,
                source,
            )
        )
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_CHEST_XRAY,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )


def _group(
    tracking_uid: str,
    name: str,
    algorithm: sr.AlgorithmIdentification,
    probability: float | None,
    flag: bool,
    reason: str,
    threshold: float | None,
    sources: list[pydicom.Dataset],
) -> sr.MeasurementsAndQualitativeEvaluations:
    measured = ((codes.DCM.Probability, probability), (codes.DCM.ThresholdValue, threshold))
    assessment = (
        Code('not-assessed', _SCHEME, f'Not assessed: {reason}'[:_MAX_MEANING])
        if reason
        else _ASSESSED
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracking_uid, identifier=name),
        finding_type=codes.SCT.Abnormal,
        finding_sites=[sr.FindingSite(codes.SCT.Chest)],
        algorithm_id=algorithm,
        measurements=[
            sr.Measurement(name=code, value=value, unit=codes.UCUM.NoUnits)
            for code, value in measured
            if value is not None
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(_ASSESSMENT, assessment),
            sr.QualitativeEvaluation(_FLAG, _FLAGGED if flag else _NOT_FLAGGED),
            sr.QualitativeEvaluation(_INTENDED_USE, _RESEARCH),
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(s.SOPClassUID, s.SOPInstanceUID) for s in sources
        ]
        or None,
    )


def _algorithm(
    version: int | None, threshold: float | None, info: VersionInfo
) -> sr.AlgorithmIdentification:
    parameters = [f'task {info.task}'] if info.task else []
    if threshold is not None:
        parameters.append(f'operating point: flagged at a probability of {threshold:.6g} or more')
    if info.version == version:
        figures = (('sensitivity', info.sensitivity), ('specificity', info.specificity))
        parameters += [
            _figure(name, figure) for name, figure in figures if figure.value is not None
        ]
    return sr.AlgorithmIdentification(
        name=MODEL,
        version=f'{pipeline.__version__}, model {version}',
        parameters=parameters or None,
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=MANUFACTURER,
    )


def _figure(name: str, figure: Estimate) -> str:
    interval = ''
    if figure.lower is not None and figure.upper is not None:
        interval = f' (95 % interval {figure.lower:.3f} to {figure.upper:.3f})'
    return f'{name} at the operating point, on the test split: {figure.value:.3f}{interval}'


def _stable(image: Image) -> Answer | None:
    return next((a for a in image.answers if a.role == studies.STABLE), None)


def _reference(study: Study, evidence: pydicom.Dataset, images: int) -> pydicom.Dataset:
    """What a later report says about an earlier one."""
    earlier = pydicom.Dataset()
    earlier.SOPClassUID = pydicom.uid.ComprehensiveSRStorage
    earlier.SOPInstanceUID = instance_uid(study.id, images)
    earlier.SeriesInstanceUID = uid(study.id, 'series')
    earlier.StudyInstanceUID = evidence.StudyInstanceUID
    return earlier
