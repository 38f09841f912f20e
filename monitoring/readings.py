"""Turns what readers said about studies into labelled images, a sample with known probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from records.convert.pseudonyms import Pseudonyms
from records.convert.sources import Source
from records.dicom import attributes, header
from records.dicom.attributes import Attributes
from records.dicom.error import DicomError
from schemas.labels import LABELS, NO_FINDING, OTHER
from serving import studies, uploads
from serving.database.tables import PENDING, Answer, Image, Reading, Study
from serving.image_files import ImageFiles
from serving.pacs import origin

# Of `collected.csv`, one row for each image.
COLUMNS = (
    *('image_id', 'study', 'patient', 'site', 'reader', 'read_at', 'verdict', 'findings'),
    *('version', 'probability', 'threshold', 'flag', 'sampling_probability', 'weight'),
)
_NOT_ASSESSABLE = 'not_assessable'


@dataclass(frozen=True)
class Sampling:
    """Which of the readings are kept.

    Attributes:
      share: of the studies whose answer the reader confirmed, far from the threshold; 0..1.
      near: distance of a probability from the threshold below which it is not far.
    """

    share: float
    near: float


@dataclass
class Collected:
    """The labelled images, and what was left out.

    Attributes:
      sources: images to convert.
      rows: image_id -> its row of `collected.csv`.
      studies: kept.
      left_out: why -> studies or images.
      removed: image_ids whose files the retention has removed.
    """

    sources: list[Source] = field(default_factory=list)
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    studies: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    removed: list[str] = field(default_factory=list)


def collect(
    session: Session,
    files: ImageFiles,
    origins: ImageFiles,
    names: Pseudonyms,
    sampling: Sampling,
    known_studies: Set[str],
    known_images: Set[str],
) -> Collected:
    """The images of the studies that have a reading, by the latest reading of each.

    Args:
      session: of the service's database.
      files: its images.
      origins: what it keeps of DICOM headers, by image.
      names: for patients, studies, images and readers.
      sampling: which studies are kept.
      known_studies, known_images: pseudonyms of those that were collected before.
    """
    collected = Collected()
    seen = set(known_images)
    for study, reading in _read_studies(session):
        name = names.study(study.id)
        if name in known_studies:
            collected.left_out['studies in an earlier span'] += 1
            continue
        if reading.verdict == _NOT_ASSESSABLE:
            collected.left_out['studies read as not assessable'] += 1
            continue
        answered = [(image, answer) for image in study.images if (answer := _answer(image))]
        assessed = [(image, answer) for image, answer in answered if not answer.reason]
        not_assessed = len(answered) - len(assessed)
        if not_assessed:
            collected.left_out['images that the model did not assess'] += not_assessed
        if not assessed:
            continue
        probability = _probability(study, reading, [answer for _, answer in assessed], sampling)
        if names.draw(name) >= probability:
            collected.left_out['studies that the sampling left out'] += 1
            continue
        found = list(_images(study, reading, assessed, files, origins, names, 1 / probability))
        _add(collected, found, files, seen)
    return collected


def _read_studies(session: Session) -> Iterator[tuple[Study, Reading]]:
    query = (
        select(Study)
        .where(Study.is_read, Study.state != PENDING)
        .order_by(Study.number)
        .options(
            selectinload(Study.images).selectinload(Image.answers), selectinload(Study.readings)
        )
    )
    for study in session.scalars(query):
        yield study, study.readings[-1]


def _answer(image: Image) -> Answer | None:
    return next((answer for answer in image.answers if answer.role == studies.STABLE), None)


def _probability(
    study: Study, reading: Reading, answers: list[Answer], sampling: Sampling
) -> float:
    """The probability with which a study is kept; it depends on nothing but the study itself."""
    agree = bool(study.flag) == (reading.verdict == 'abnormal')
    is_far = all(
        answer.probability is not None
        and answer.threshold is not None
        and abs(answer.probability - answer.threshold) >= sampling.near
        for answer in answers
    )
    return sampling.share if agree and is_far else 1.0


def _images(
    study: Study,
    reading: Reading,
    assessed: list[tuple[Image, Answer]],
    files: ImageFiles,
    origins: ImageFiles,
    names: Pseudonyms,
    weight: float,
) -> Iterator[tuple[Image, Source, dict[str, str]]]:
    """Each image with what becomes of it, and its row of `collected.csv`."""
    labels = tuple(reading.findings) or (OTHER,) if reading.verdict == 'abnormal' else (NO_FINDING,)
    for image, answer in assessed:
        said = _said(image, files, origins)
        # As `convert --labels` names them with the same key.
        image_id = names.image((said and said.image) or image.sha256)
        patient = names.patient((said and said.patient) or f'study\0{study.id}')
        table = {
            'Finding Labels': '|'.join(label for label in labels if label in LABELS),
            'Patient ID': patient,
            'Patient Age': said.age if said else '',
            'Patient Gender': said.sex if said else '',
            'View Position': said.view if said else '',
        }
        row = {
            'image_id': image_id,
            'study': names.study(study.id),
            'patient': patient,
            'site': study.site,
            'reader': names.reader(reading.reader),
            'read_at': reading.read_at.isoformat(timespec='seconds'),
            'verdict': reading.verdict,
            'findings': '|'.join(reading.findings),
            'version': str(reading.version or ''),
            'probability': _number(answer.probability),
            'threshold': _number(answer.threshold),
            'flag': str(int(answer.flag)),
            'sampling_probability': f'{1 / weight:.6g}',
            'weight': f'{weight:.6g}',
        }
        yield image, Source(files.path(image.id), image_id, labels, table, weight), row


def _number(value: float | None) -> str:
    return '' if value is None else f'{value:.6f}'


def _said(image: Image, files: ImageFiles, origins: ImageFiles) -> Attributes | None:
    """What the headers of a DICOM image say: the part that archives need, and the image's own."""
    if image.kind != uploads.DICOM:
        return None
    try:
        own = attributes.read(header.read_header(files.path(image.id).read_bytes()))
    except (FileNotFoundError, DicomError):
        own = None
    try:
        kept = attributes.read(origin.read(origins.read(image.id)))
    except FileNotFoundError:
        return own
    view = own.view if own else ''
    return Attributes(**{**vars(kept), 'view': kept.view or view})


def _add(
    collected: Collected,
    found: list[tuple[Image, Source, dict[str, str]]],
    files: ImageFiles,
    seen: set[str],
) -> None:
    """Adds the images of a study that are there, each image once."""
    is_kept = False
    for image, source, row in found:
        if source.image_id in seen:
            # A copy in another split would show the model what it is tested on.
            collected.left_out['images that were collected before'] += 1
        elif image.deleted_at is not None or not files.path(image.id).exists():
            collected.left_out['images that the retention removed'] += 1
            collected.removed.append(source.image_id)
        else:
            seen.add(source.image_id)
            collected.sources.append(source)
            collected.rows[source.image_id] = row
            is_kept = True
    collected.studies += is_kept
