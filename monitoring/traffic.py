"""Reads from the gateway's database what a version answered, and how readers judged it."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import Session

from monitoring import sample
from monitoring.sample import AP, FLAG, NOT_ASSESSED, PROBABILITY, Sample
from serving import descriptions
from serving.assessment.description import REVISION, Description
from serving.database.tables import PENDING, Answer, Image, Reading, Study
from serving.database.tables import Description as Stored
from serving.image_files import ImageFiles
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
      described: how many of the images have descriptors; the files of the others are damaged, or
        were removed before they were described.
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
      files: the uploaded images, for what the gateway has not described.

    Raises:
      TrafficError: the version answered about no study.
    """
    rows = session.execute(_latest_images(version, size)).all()
    if not rows:
        raise TrafficError(f'version {version} answered about no study')
    images = tuple(Answered(*row[1:7]) for row in rows)
    described, views = zip(*(_described(files, row) for row in rows), strict=True)
    columns = {
        NOT_ASSESSED: np.array([bool(image.reason) for image in images], np.float64),
        PROBABILITY: _known(image.probability for image in images),
        FLAG: _known(float(image.flag) if not image.reason else None for image in images),
        AP: sample.is_ap(views),
    }
    return Window(
        version,
        rows[-1].arrived_at,
        rows[0].arrived_at,
        len({image.study for image in images}),
        images[0].study,
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


def _latest_images(version: int, size: int) -> Select[Any]:
    """The images of the latest studies of a version, the newest study first."""
    latest = (
        select(Study.number, Study.arrived_at)
        .where(_answered(), Study.version == version)
        .order_by(Study.number.desc())
        .limit(size)
        .subquery()
    )
    return (
        select(
            latest.c.arrived_at,
            latest.c.number,
            Image.id,
            Image.kind,
            Answer.probability,
            Answer.flag,
            Answer.reason,
            Stored.revision,
            Stored.named,
            Stored.pattern,
            Stored.view,
        )
        .join(Image, Image.study_number == latest.c.number)
        .join(Answer, and_(Answer.image_number == Image.number, Answer.role == STABLE))
        .outerjoin(Stored, Stored.image_number == Image.number)
        .order_by(latest.c.number.desc(), Image.position)
    )


def _described(files: ImageFiles, row: Any) -> tuple[Description | None, str]:
    """The description that the gateway has stored, or that of the file; and PA, AP or ''."""
    if row.revision == REVISION:
        return descriptions.stored(row.named, row.pattern), row.view
    return descriptions.measure(files, row.id, row.kind)


def _known(values: Iterator[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float64)
