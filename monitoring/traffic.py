"""Reads from the gateway's database what a version answered, and how readers judged it."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from monitoring import descriptors, sample
from monitoring.descriptors import Description
from monitoring.sample import FLAG, NOT_ASSESSED, PROBABILITY, Sample
from serving import uploads
from serving.database.tables import PENDING, Answer, Image, Reading, Study
from serving.image_files import ImageFiles
from serving.image_formats.error import UploadError
from serving.studies import STABLE


class TrafficError(ValueError):
    """There is no traffic to look at; the text says what is missing."""


@dataclass(frozen=True)
class Answered:
    """An image with the answer of the stable version."""

    study: int
    image: str
    kind: str
    probability: float | None
    flag: bool
    reason: str


@dataclass(frozen=True)
class Window:
    """The latest studies of a version.

    Attributes:
      version: that answered.
      first, last: when the first and the last of these studies arrived.
      studies: how many.
      last_study: number of the newest, in the order of arrival.
      images: of the studies.
      described: how many of the images have descriptors; the files of the others are gone or
        damaged.
      sample: all images.
    """

    version: int
    first: datetime.datetime
    last: datetime.datetime
    studies: int
    last_study: int
    images: tuple[Answered, ...]
    described: int
    sample: Sample

    def reasons(self) -> dict[str, int]:
        """Reason -> images that were not assessed because of it, the most frequent first."""
        return dict(Counter(image.reason for image in self.images if image.reason).most_common())


@dataclass(frozen=True)
class ReadStudy:
    """A study with an answer and a verdict.

    Attributes:
      id: the public name.
      arrived: when it arrived.
      probability: None if it was not assessed.
      flag: as shown to the reader.
      verdict: the latest of the readers'.
      reader: who gave it.
    """

    id: str
    arrived: datetime.datetime
    probability: float | None
    flag: bool
    verdict: str
    reader: str


def latest_version(session: Session) -> int:
    """The version that answered about the newest study that has an answer.

    Raises:
      TrafficError: no study has one.
    """
    version = session.scalar(
        select(Study.version).where(_answered()).order_by(Study.number.desc()).limit(1)
    )
    if version is None:
        raise TrafficError('no study has an answer yet: upload images to the service first')
    return int(version)


def read_window(session: Session, version: int, size: int, files: ImageFiles) -> Window:
    """The latest studies of a version, with the descriptors of their images.

    Args:
      session: of the database.
      version: that answered.
      size: the most studies.
      files: the uploaded images.

    Raises:
      TrafficError: the version answered about no study.
    """
    studies = session.scalars(
        select(Study)
        .where(_answered(), Study.version == version)
        .order_by(Study.number.desc())
        .limit(size)
        .options(selectinload(Study.images).selectinload(Image.answers))
    ).all()
    images = tuple(_images(studies))
    if not images:
        raise TrafficError(f'version {version} answered about no study')
    described = [_describe(files, image) for image in images]
    columns = {
        NOT_ASSESSED: np.array([bool(image.reason) for image in images], np.float64),
        PROBABILITY: _known(image.probability for image in images),
        FLAG: _known(float(image.flag) if not image.reason else None for image in images),
    }
    return Window(
        version,
        studies[-1].arrived_at,
        studies[0].arrived_at,
        len(studies),
        studies[0].number,
        images,
        sum(item is not None for item in described),
        sample.build([str(image.study) for image in images], described, columns),
    )


def volume(session: Session, days: int = 28) -> dict[str, int]:
    """Day (UTC) -> studies that arrived, of the last days with any, the oldest first."""
    day = func.date(Study.arrived_at)
    rows = session.execute(
        select(day, func.count()).group_by(day).order_by(day.desc()).limit(days)
    ).all()
    return {str(name): int(count) for name, count in reversed(rows)}


def read_studies(session: Session, version: int) -> list[ReadStudy]:
    """The studies of a version that readers judged, the oldest first."""
    last = (
        select(func.max(Reading.number))
        .where(Reading.version == version)
        .group_by(Reading.study_number)
    )
    rows = session.execute(
        select(Study, Reading)
        .join(Reading, Reading.study_number == Study.number)
        .where(Reading.number.in_(last), Study.version == version)
        .order_by(Study.number)
    ).all()
    return [
        ReadStudy(
            study.id,
            study.arrived_at,
            study.probability,
            bool(study.flag),
            reading.verdict,
            reading.reader,
        )
        for study, reading in rows
    ]


def read_shares(session: Session, version: int) -> dict[bool, tuple[int, int]]:
    """Flag -> (studies that were read, studies), of a version."""
    rows = session.execute(
        select(Study.flag, Study.is_read, func.count())
        .where(_answered(), Study.version == version)
        .group_by(Study.flag, Study.is_read)
    ).all()
    counts: Counter[tuple[bool, bool]] = Counter()
    for flag, is_read, count in rows:
        counts[bool(flag), bool(is_read)] += count
    return {
        flag: (counts[flag, True], counts[flag, True] + counts[flag, False])
        for flag in (True, False)
    }


def _answered():
    return Study.state != PENDING


def _images(studies: Sequence[Study]) -> Iterator[Answered]:
    for study in studies:
        for image in study.images:
            if answer := _answer(image):
                yield Answered(
                    study.number,
                    image.id,
                    image.kind,
                    answer.probability,
                    answer.flag,
                    answer.reason,
                )


def _answer(image: Image) -> Answer | None:
    return next((answer for answer in image.answers if answer.role == STABLE), None)


def _describe(files: ImageFiles, image: Answered) -> Description | None:
    """None if the retention has removed the file, or it is damaged."""
    try:
        content = uploads.to_model_input(files.read(image.image), image.kind)
    except (FileNotFoundError, UploadError):
        return None
    return descriptors.describe(content)


def _known(values: Iterator[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float64)
