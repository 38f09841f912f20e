"""Reads from the gateway's database what a version answered, and how readers judged it."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Select, and_, func, select, true
from sqlalchemy.orm import Session

from monitoring import sample
from monitoring.sample import AP, FLAG, MAX_IMAGES, NOT_ASSESSED, PROBABILITY, Sample
from serving import descriptions
from serving.assessment.description import REVISION, Description
from serving.database.tables import PENDING, Answer, Image, Reading, Study
from serving.database.tables import Description as Stored
from serving.image_files import ImageFiles
from serving.studies import STABLE

_IDS_PER_QUERY = 500


class TrafficError(ValueError):
    """There is no traffic to look at; the text says what is missing."""


@dataclass(frozen=True)
class Answered:
    """An image with the answer of the stable version."""

    study: int
    number: int
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
      site: of the studies.
      first, last: when the first and the last of these studies arrived.
      studies: how many.
      first_study, last_study: numbers of the oldest and the newest, in the order of arrival.
      images: of the studies.
      described: how many of the images in `sample` have descriptors; the files of the others are
        damaged, or were removed before they were described.
      sample: the images that are compared: at most MAX_IMAGES, of whole studies.
    """

    version: int
    site: str
    first: datetime.datetime
    last: datetime.datetime
    studies: int
    first_study: int
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
      site: of the study.
    """

    id: str
    arrived: datetime.datetime
    probability: float | None
    flag: bool
    verdict: str
    reader: str
    site: str = ''


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


def sites(session: Session, version: int) -> dict[str, int]:
    """Site -> studies that a version answered about, the site with most studies first."""
    rows = session.execute(
        select(Study.site, func.count())
        .where(_answered(), Study.version == version)
        .group_by(Study.site)
        .order_by(func.count().desc(), Study.site)
    )
    return dict(row._tuple() for row in rows)


def read_window(
    session: Session, version: int, size: int, files: ImageFiles, site: str = ''
) -> Window:
    """The latest studies of a version at a site, with the descriptors of their images.

    Args:
      session: of the database.
      version: that answered.
      size: the most studies.
      files: the uploaded images, for what the gateway has not described.
      site: of the studies.

    Raises:
      TrafficError: the version answered about no study of the site.
    """
    rows = session.execute(_latest_images(version, size, site)).all()
    if not rows:
        raise TrafficError(f'version {version} answered about no study of the site {site!r}')
    images = tuple(Answered(*row[1:]) for row in rows)
    compared = _some(images)
    described, views = _descriptions(session, files, compared)
    columns = {
        NOT_ASSESSED: np.array([bool(image.reason) for image in compared], np.float64),
        PROBABILITY: _known(image.probability for image in compared),
        FLAG: _known(float(image.flag) if not image.reason else None for image in compared),
        AP: sample.is_ap(views),
    }
    return Window(
        version,
        site,
        rows[-1].arrived_at,
        rows[0].arrived_at,
        len({image.study for image in images}),
        images[-1].study,
        images[0].study,
        images,
        sum(item is not None for item in described),
        sample.build(
            [str(image.study) for image in compared],
            described,
            _embeddings(session, compared),
            columns,
        ),
    )


def volume(session: Session, site: str | None = None, days: int = 28) -> dict[str, int]:
    """Day (UTC) -> studies that arrived, of the last days with any, the oldest first.

    Args:
      session: of the database.
      site: None for all.
      days: the most.
    """
    day = func.date(Study.arrived_at)
    rows = session.execute(
        select(day, func.count()).where(_of(site)).group_by(day).order_by(day.desc()).limit(days)
    ).all()
    return {str(name): int(count) for name, count in reversed(rows)}


def read_studies(session: Session, version: int, site: str | None = None) -> list[ReadStudy]:
    """The studies of a version, of one site or of all, that readers judged, the oldest first."""
    last = (
        select(func.max(Reading.number))
        .where(Reading.version == version)
        .group_by(Reading.study_number)
    )
    rows = session.execute(
        select(Study, Reading)
        .join(Reading, Reading.study_number == Study.number)
        .where(Reading.number.in_(last), Study.version == version, _of(site))
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
            study.site,
        )
        for study, reading in rows
    ]


def read_shares(
    session: Session, version: int, site: str | None = None
) -> dict[bool, tuple[int, int]]:
    """Flag -> (studies that were read, studies), of a version at one site or at all."""
    rows = session.execute(
        select(Study.flag, Study.is_read, func.count())
        .where(_answered(), Study.version == version, _of(site))
        .group_by(Study.flag, Study.is_read)
    ).all()
    counts: Counter[tuple[bool, bool]] = Counter()
    for flag, is_read, count in rows:
        counts[bool(flag), bool(is_read)] += count
    return {
        flag: (counts[flag, True], counts[flag, True] + counts[flag, False])
        for flag in (True, False)
    }


def _of(site: str | None):
    return true() if site is None else Study.site == site


def _answered():
    return Study.state != PENDING


def _latest_images(version: int, size: int, site: str) -> Select[Any]:
    """Time of arrival, and the columns of `Answered`, the newest study first."""
    latest = (
        select(Study.number, Study.arrived_at)
        .where(_answered(), Study.version == version, Study.site == site)
        .order_by(Study.number.desc())
        .limit(size)
        .subquery()
    )
    return (
        select(
            latest.c.arrived_at,
            latest.c.number,
            Image.number,
            Image.id,
            Image.kind,
            Answer.probability,
            Answer.flag,
            Answer.reason,
        )
        .join(Image, Image.study_number == latest.c.number)
        .join(Answer, and_(Answer.image_number == Image.number, Answer.role == STABLE))
        .order_by(latest.c.number.desc(), Image.position)
    )


def _some(images: Sequence[Answered]) -> list[Answered]:
    """At most MAX_IMAGES of them: whole studies, always the same ones."""
    if len(images) <= MAX_IMAGES:
        return list(images)
    studies = np.unique([image.study for image in images])
    counts = Counter(image.study for image in images)
    shuffled = np.random.default_rng(0).permutation(studies)
    fits = np.cumsum([counts[study] for study in shuffled]) <= MAX_IMAGES
    chosen = set(shuffled[fits].tolist())
    return [image for image in images if image.study in chosen]


def _descriptions(
    session: Session, files: ImageFiles, images: Sequence[Answered]
) -> tuple[list[Description | None], list[str]]:
    """Of each image the description that the gateway has stored, or that of its file; its view."""
    stored: dict[int, Any] = {}
    for start in range(0, len(images), _IDS_PER_QUERY):
        numbers = [image.number for image in images[start : start + _IDS_PER_QUERY]]
        query = select(Stored.image_number, Stored.named, Stored.pattern, Stored.view)
        query = query.where(Stored.image_number.in_(numbers), Stored.revision == REVISION)
        stored |= {row.image_number: row for row in session.execute(query)}
    described, views = [], []
    for image in images:
        if row := stored.get(image.number):
            item, view = descriptions.stored(row.named, row.pattern), row.view
        else:
            item, view = descriptions.measure(files, image.image, image.kind)
        described.append(item)
        views.append(view)
    return described, views


def _embeddings(session: Session, images: Sequence[Answered]) -> list[np.ndarray | None]:
    """The embedding of each image that was assessed, if the version has embeddings."""
    stored: dict[int, bytes | None] = {}
    for start in range(0, len(images), _IDS_PER_QUERY):
        numbers = [image.number for image in images[start : start + _IDS_PER_QUERY]]
        query = select(Answer.image_number, Answer.embedding)
        query = query.where(Answer.image_number.in_(numbers), Answer.role == STABLE)
        stored |= dict(row._tuple() for row in session.execute(query))
    return [
        np.frombuffer(content, '<f4') if (content := stored.get(image.number)) else None
        for image in images
    ]


def _known(values: Iterator[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float64)
