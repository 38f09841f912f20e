"""DICOM studies in the database: their images arrive one by one, in any order, and maybe twice."""

from __future__ import annotations

import datetime

from sqlalchemy import Select, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from serving import audit, studies
from serving.database import connection
from serving.database.tables import PENDING, Image, Report, Study
from serving.pacs import origin, unsent
from serving.pacs.origin import Identity

# Another gateway may add the study at the same time.
_ATTEMPTS = 3


def is_known(sessions: sessionmaker[Session], identity: Identity) -> bool:
    """Whether an image was accepted before; the retention may have deleted its file."""
    with connection.reading(sessions) as session:
        return session.scalar(_image(identity)) is not None


def known(sessions: sessionmaker[Session], instances: set[str]) -> set[str]:
    """Those of some SOP Instance UIDs whose images were accepted and are still stored."""
    keys = {origin.key(uid): uid for uid in instances}
    query = select(Image.dicom_key).where(
        Image.dicom_key.in_(list(keys)), Image.deleted_at.is_(None)
    )
    with connection.reading(sessions) as session:
        return {keys[key] for key in session.scalars(query) if key is not None}


def accepted(sessions: sessionmaker[Session], study: str, instances: set[str]) -> set[str]:
    """Those of some SOP Instance UIDs of a study whose images were accepted before.

    The retention may have deleted their files: they are not stored again either.
    """
    keys = {origin.key(uid): uid for uid in instances}
    query = (
        select(Image.dicom_key)
        .join(Study)
        .where(Study.dicom_key == origin.key(study), Image.dicom_key.in_(list(keys)))
    )
    with connection.reading(sessions) as session:
        return {keys[key] for key in session.scalars(query) if key is not None}


def join(
    sessions: sessionmaker[Session],
    image: studies.NewImage,
    identity: Identity,
    actor: str,
    site: str = '',
    accession_key: str | None = None,
) -> bool:
    """Adds an image, whose file is stored, to its study; it is accepted when this returns.

    A study that has its answer waits for one again, and counts as unread. It keeps the site of its
    first image.

    Returns:
      False if the image was there already: then nothing changes.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with sessions() as session, session.begin():
                return _join(session, image, identity, actor, site, accession_key)
        except IntegrityError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError


def _join(
    session: Session,
    image: studies.NewImage,
    identity: Identity,
    actor: str,
    site: str,
    accession_key: str | None,
) -> bool:
    found = session.scalar(
        select(Study).where(Study.dicom_key == origin.key(identity.study)).with_for_update()
    )
    if found is None:
        found = Study(
            id=studies.new_id(),
            arrived_at=datetime.datetime.now(datetime.timezone.utc),
            uploaded_by=actor,
            dicom_key=origin.key(identity.study),
            image_count=0,
            site=site,
        )
        session.add(found)
        session.flush()
    elif session.scalar(_image(identity)) is not None:
        return False
    position = session.scalar(
        select(func.count()).select_from(Image).where(Image.study_number == found.number)
    )
    row = studies.image_row(image, position or 0, origin.key(identity.instance))
    session.add(Image(study_number=found.number, **row))
    found.image_count += 1
    found.accession_key = found.accession_key or accession_key
    found.state, found.is_read = PENDING, False
    # The report about all images replaces one that nobody was asked to take yet.
    session.execute(
        delete(Report).where(
            Report.study_number == found.number, Report.attempts == 0, unsent.waiting()
        )
    )
    audit.append(
        session,
        actor,
        'upload',
        found.id,
        images=[{'id': image.id, 'sha256': image.content_sha256}],
    )
    return True


def _image(identity: Identity) -> Select[tuple[int]]:
    return (
        select(Image.number)
        .join(Study)
        .where(
            Study.dicom_key == origin.key(identity.study),
            Image.dicom_key == origin.key(identity.instance),
        )
    )
