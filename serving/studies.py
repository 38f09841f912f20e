"""Studies in the database: acceptance, answers, readings and the work list."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, insert, or_, select
from sqlalchemy.orm import Session, joinedload

from schemas.labels import FINDINGS
from serving import audit, sites
from serving.database.tables import (
    NOT_ASSESSED,
    PENDING,
    SCORED,
    STATES,
    Answer,
    Image,
    Reading,
    Study,
)
from serving.uploads import Upload

STABLE, CANARY = 'stable', 'canary'
VERDICTS = ('normal', 'abnormal', 'not_assessable')
SORTS = ('-arrived', 'arrived', '-probability', 'probability')
_MAX_PAGE = 200
# Made once, as almost each request needs them.
_STATE = select(Study.state).where(Study.id == bindparam('id'))
_FIND = (
    select(Study)
    .where(Study.id == bindparam('id'))
    .options(joinedload(Study.images).joinedload(Image.answers), joinedload(Study.readings))
)


class StudyError(ValueError):
    """A request that does not fit the studies; the text says why."""


@dataclass(frozen=True)
class NewImage:
    """An accepted file, already stored under `id`."""

    id: str
    upload: Upload
    content_sha256: str
    size: int


@dataclass(frozen=True)
class Outcome:
    """What a version answered about an image; `reason` says why it was not assessed.

    For `embedding`, see `serving.database.tables.Answer`.
    """

    version: int
    probability: float | None
    flag: bool
    reason: str = ''
    threshold: float | None = None
    findings: dict[str, float] | None = None
    embedding: bytes | None = None


@dataclass(frozen=True)
class Filters:
    """Which studies the work list shows; None does not restrict."""

    state: str | None = None
    flag: bool | None = None
    is_read: bool | None = None
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    search: str = ''
    site: str | None = None


@dataclass(frozen=True)
class Page:
    """A part of the work list, and the cursor of the next part, or ''."""

    studies: list[Study]
    next_cursor: str
    total: int


def new_id() -> str:
    """A random id, as hex."""
    return uuid.uuid4().hex


def sha256(content: bytes) -> str:
    """The SHA-256 of a file, as hex."""
    return hashlib.sha256(content).hexdigest()


def accept(
    session: Session,
    images: Sequence[NewImage],
    actor: str,
    reference: str = '',
    site: str = '',
) -> Study:
    """Adds a study whose files are stored; it is accepted when the transaction is committed."""
    study = Study(
        id=new_id(),
        arrived_at=_now(),
        uploaded_by=actor,
        reference=reference,
        site=site,
        state=PENDING,
        image_count=len(images),
    )
    session.add(study)
    session.flush()
    rows = [
        {'study_number': study.number, **image_row(image, position)}
        for position, image in enumerate(images)
    ]
    session.execute(insert(Image), rows)
    audit.append(
        session,
        actor,
        'upload',
        study.id,
        images=[{'id': image.id, 'sha256': image.content_sha256} for image in images],
    )
    return study


def image_row(image: NewImage, position: int, dicom_key: str | None = None) -> dict[str, Any]:
    """The columns of an accepted file, without its study."""
    return {
        'id': image.id,
        'position': position,
        'kind': image.upload.kind,
        'sha256': image.content_sha256,
        'size': image.size,
        'width': image.upload.width,
        'height': image.upload.height,
        'dicom_key': dicom_key,
        'notes': list(image.upload.notes),
    }


def is_pending(session: Session, id: str) -> bool:
    """Whether there is a study that waits for an answer."""
    return session.scalar(_STATE, {'id': id}) == PENDING


def still_pending(session: Session, waiting: Sequence[Study]) -> list[Study]:
    """The studies of these that still wait for an answer, and have got no image meanwhile.

    They are locked, so that no other gateway answers them as well.

    Args:
      session: one with an open transaction; the studies are attached to it.
      waiting: studies in the order of their arrival, read before with their images.
    """
    query = (
        select(Study.id, Study.image_count)
        .where(Study.id.in_([study.id for study in waiting]), Study.state == PENDING)
        .order_by(Study.number)
        # All before the log is locked; see `audit.append`.
        .with_for_update()
    )
    counts: dict[str, int] = dict(row._tuple() for row in session.execute(query))
    current = [study for study in waiting if counts.get(study.id) == study.image_count]
    session.add_all(current)
    return current


def record_answers(
    session: Session,
    answered: Sequence[tuple[Study, Sequence[Outcome]]],
    canary: Sequence[tuple[Study, Sequence[Outcome]]] = (),
) -> None:
    """Records the answers about studies.

    Args:
      session: one with an open transaction.
      answered: pending studies, whose `images` are those that wait, with the outcomes of the stable
        version about these images, in their order.
      canary: the same of the canary version; nothing that is shown changes.
    """
    now = _now()
    for study, outcomes in answered:
        answers: list[Answer | Outcome] = [*_earlier_answers(session, study), *outcomes]
        assessed = [answer for answer in answers if not answer.reason]
        probabilities = [a.probability for a in assessed if a.probability is not None]
        study.state = SCORED if assessed else NOT_ASSESSED
        study.probability = max(probabilities, default=None)
        # What was not assessed must not look normal.
        study.flag = any(answer.flag for answer in assessed or answers)
        study.version = outcomes[0].version
        study.scored_at = now
    by_role = [(STABLE, *row) for row in answered] + [(CANARY, *row) for row in canary]
    rows = [row for entry in by_role for row in _answer_rows(*entry, now)]
    if rows:
        session.execute(insert(Answer), rows)
    audit.append_all(session, [_answer_event(*entry) for entry in by_role])


def find(session: Session, id: str) -> Study | None:
    """A study with its images, answers and readings."""
    return session.scalars(_FIND, {'id': id}).unique().one_or_none()


def add_reading(
    session: Session, study: Study, reader: str, verdict: str, findings: list[str], text: str
) -> Reading:
    """Adds a reader's verdict; earlier ones stay.

    Raises:
      StudyError: the verdict or a finding does not exist, or they contradict each other.
    """
    if verdict not in VERDICTS:
        raise StudyError(f'verdict {verdict!r}: expected one of {", ".join(VERDICTS)}')
    if unknown := sorted(set(findings) - set(FINDINGS)):
        raise StudyError(f'findings {unknown}: expected some of {", ".join(FINDINGS)}')
    if findings and verdict != 'abnormal':
        raise StudyError(f'findings need the verdict abnormal, not {verdict}')
    reading = Reading(
        study_number=study.number,
        verdict=verdict,
        findings=findings,
        text=text,
        reader=reader,
        version=study.version,
        read_at=_now(),
    )
    session.add(reading)
    study.is_read = True
    # The free text may name the patient, so the log has only its digest.
    audit.append(
        session,
        reader,
        'reading',
        study.id,
        verdict=verdict,
        findings=findings,
        version=study.version,
        text_sha256=sha256(text.encode('utf-8')) if text else '',
    )
    return reading


def work_list(
    session: Session, filters: Filters, sort: str = '-arrived', cursor: str = '', limit: int = 50
) -> Page:
    """A page of the work list.

    Args:
      session: a session.
      filters: which studies.
      sort: one of `SORTS`; a leading '-' is descending.
      cursor: '' for the first page, else the `next_cursor` of the page before.
      limit: studies per page, at most 200.

    Raises:
      StudyError: the sort order, state or cursor does not exist, or no site can have the name.
    """
    if sort not in SORTS:
        raise StudyError(f'sort {sort!r}: expected one of {", ".join(SORTS)}')
    query = _filtered(select(Study), filters)
    total = session.scalar(_filtered(select(func.count()).select_from(Study), filters)) or 0
    by_probability = sort.endswith('probability')
    # A pending study has no probability yet and comes after all others.
    key = func.coalesce(Study.probability, -1.0) if by_probability else Study.number
    if cursor:
        query = query.where(_after(key, by_probability, sort, cursor))
    order = [key, Study.number] if by_probability else [key]
    descending = sort.startswith('-')
    query = query.order_by(*(column.desc() if descending else column.asc() for column in order))
    limit = max(1, min(limit, _MAX_PAGE))
    rows = list(session.scalars(query.limit(limit + 1)))
    studies, more = rows[:limit], len(rows) > limit
    return Page(studies, cursor_after(studies[-1], sort) if more else '', total)


def _filtered(query: Select, filters: Filters) -> Select:
    if filters.state is not None:
        if filters.state not in STATES:
            raise StudyError(f'state {filters.state!r}: expected one of {", ".join(STATES)}')
        query = query.where(Study.state == filters.state)
    if filters.flag is not None:
        query = query.where(Study.flag.is_(filters.flag))
    if filters.is_read is not None:
        query = query.where(Study.is_read.is_(filters.is_read))
    if filters.site is not None:
        try:
            query = query.where(Study.site == sites.check(filters.site))
        except sites.SiteError as error:
            raise StudyError(str(error)) from None
    if filters.since is not None:
        query = query.where(Study.arrived_at >= filters.since)
    if filters.until is not None:
        query = query.where(Study.arrived_at < filters.until)
    if text := filters.search.strip():
        query = query.where(
            or_(
                Study.id.startswith(text.lower(), autoescape=True),
                Study.reference.icontains(text, autoescape=True),
            )
        )
    return query


def cursor_after(study: Study, sort: str) -> str:
    """The cursor of the page that begins after a study, in the order of `sort`."""
    probability = -1.0 if study.probability is None else study.probability
    values = [probability, study.number] if sort.endswith('probability') else [study.number]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


def _after(key: Any, by_probability: bool, sort: str, cursor: str) -> Any:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        numbers = [float(value) for value in values]
        expected = 2 if by_probability else 1
        # Within what each database takes as a number.
        if len(numbers) != expected or not all(abs(number) < 2**53 for number in numbers):
            raise ValueError
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise StudyError('the cursor is not one of this list and sort order') from None
    descending = sort.startswith('-')

    def beyond(column: Any, value: float) -> Any:
        return column < value if descending else column > value

    if not by_probability:
        return beyond(key, int(numbers[0]))
    return or_(
        beyond(key, numbers[0]), and_(key == numbers[0], beyond(Study.number, int(numbers[1])))
    )


def _earlier_answers(session: Session, study: Study) -> list[Answer]:
    """The answers about images that a study had before others joined it."""
    if study.scored_at is None:
        return []
    query = select(Answer).join(Image).where(Image.study_number == study.number)
    return list(session.scalars(query.where(Answer.role == STABLE)))


def _answer_rows(
    role: str, study: Study, outcomes: Sequence[Outcome], now: datetime.datetime
) -> list[dict[str, Any]]:
    return [
        {
            'image_number': image.number,
            'role': role,
            'version': outcome.version,
            'answered_at': now,
            'probability': outcome.probability,
            'flag': outcome.flag,
            'reason': outcome.reason,
            'threshold': outcome.threshold,
            'findings': outcome.findings or {},
            'embedding': outcome.embedding,
        }
        for image, outcome in zip(study.images, outcomes, strict=True)
    ]


def _answer_event(role: str, study: Study, outcomes: Sequence[Outcome]) -> audit.Event:
    answers = [
        {
            'image': image.id,
            'sha256': image.sha256,
            'probability': outcome.probability,
            'flag': outcome.flag,
            'reason': outcome.reason,
        }
        for image, outcome in zip(study.images, outcomes, strict=True)
    ]
    details = {'role': role, 'version': outcomes[0].version, 'answers': answers}
    return audit.Event('gateway', 'answer', study.id, details)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
