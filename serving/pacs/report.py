"""The report about a study: a DICOM structured report by template TID 1500.

It follows the profile AI Results of IHE: a group for the study and one for each image, with
finding, probability, operating point, flag, algorithm and the images that they are about.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from serving.database.tables import Study
from serving.notice import RESEARCH_USE
from serving.pacs import assessed, concepts
from serving.pacs.concepts import Concept, uid
from serving.served_versions import VersionInfo

SERIES_DESCRIPTION = f'Chest X-ray triage. {RESEARCH_USE}'
_SERIES_NUMBER = 99
_MAX_MEANING = 64


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
        manufacturer=concepts.PRODUCT,
        manufacturer_model_name=concepts.PRODUCT,
        software_versions=assessed.software(study.version),
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
            uid=uid('device'),
            name=concepts.PRODUCT,
            manufacturer_name=concepts.PRODUCT,
            model_name=concepts.PRODUCT,
        ),
    )
    whole = assessed.of_study(study)
    groups = [
        _group(
            uid(study.id, 'finding'),
            'Study',
            _algorithm(study.version, whole.threshold, info),
            whole.probability,
            whole.flag,
            whole.reason,
            whole.threshold,
            {},
            list(origins.values()),
        )
    ]
    for image, answer in assessed.images(study):
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
                answer.findings,
                source,
            )
        )
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_code(concepts.CHEST_XRAY),
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
    findings: dict[str, float],
    sources: list[pydicom.Dataset],
) -> sr.MeasurementsAndQualitativeEvaluations:
    measured = [(concepts.PROBABILITY, probability), (concepts.THRESHOLD, threshold)]
    measured += [(concepts.PROBABILITY_OF[name], value) for name, value in findings.items()]
    assessment = (
        Concept('not-assessed', concepts.SCHEME, f'Not assessed: {reason}'[:_MAX_MEANING])
        if reason
        else concepts.ASSESSED
    )
    evaluations = (
        (concepts.ASSESSMENT, assessment),
        (concepts.FLAG, concepts.FLAGGED if flag else concepts.NOT_FLAGGED),
        (concepts.INTENDED_USE, concepts.RESEARCH),
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracking_uid, identifier=name),
        finding_type=_code(concepts.ABNORMAL),
        finding_sites=[sr.FindingSite(codes.SCT.Chest)],
        algorithm_id=algorithm,
        measurements=[
            sr.Measurement(name=_code(concept), value=value, unit=codes.UCUM.NoUnits)
            for concept, value in measured
            if value is not None
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(_code(name), _code(value)) for name, value in evaluations
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(s.SOPClassUID, s.SOPInstanceUID) for s in sources
        ]
        or None,
    )


def _algorithm(
    version: int | None, threshold: float | None, info: VersionInfo
) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=concepts.PRODUCT,
        version=assessed.software(version),
        parameters=assessed.parameters(version, threshold, info) or None,
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=concepts.PRODUCT,
    )


def _code(concept: Concept) -> Code:
    return Code(*concept)


def _reference(study: Study, evidence: pydicom.Dataset, images: int) -> pydicom.Dataset:
    """What a later report says about an earlier one."""
    earlier = pydicom.Dataset()
    earlier.SOPClassUID = pydicom.uid.ComprehensiveSRStorage
    earlier.SOPInstanceUID = instance_uid(study.id, images)
    earlier.SeriesInstanceUID = uid(study.id, 'series')
    earlier.StudyInstanceUID = evidence.StudyInstanceUID
    return earlier
