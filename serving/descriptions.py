"""Describes answered images by numbers, in idle time.

`cxr-triage monitor` compares them also after the retention has removed the files.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import exists, func, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from serving import uploads
from serving.assessment import description
from serving.assessment.description import Description
from serving.database import connection, tables
from serving.database.tables import PENDING, Image, Study
from serving.image_files import ImageFiles
from serving.image_formats import dicom
from serving.image_formats.error import UploadError

_log = logging.getLogger(__name__)
_NAMED, _PATTERN = '<f8', '<f4'
# Without pending studies, before it begins.
_IDLE_S = 0.5
_PER_ROUND = 16
# Until it looks without being told to, e.g. for what another gateway has answered.
_LOOK_S = 60.0


def describe(files: ImageFiles, image: Image) -> dict[str, Any]:
    """The columns of an image's description; without numbers if it cannot be read or decoded."""
    found, view = measure(files, image.id, image.kind)
    return {
        'image_number': image.number,
        'revision': description.REVISION,
        'named': found.named.astype(_NAMED).tobytes() if found else None,
        'pattern': found.pattern.astype(_PATTERN).tobytes() if found else None,
        'view': view,
    }


def measure(files: ImageFiles, id: str, kind: str) -> tuple[Description | None, str]:
    """The description of an image, None if it cannot be read or decoded; and PA, AP or ''."""
    view = ''
    try:
        content = files.read(id)
        if kind == uploads.DICOM:
            view = dicom.view(content)
        return description.describe(uploads.to_model_input(content, kind)), view
    except (FileNotFoundError, UploadError):
        pass
    except Exception:  # noqa: BLE001 - whatever it is, the retention must not wait for it
        _log.exception('image %s cannot be described', id)
    return None, view


def stored(named: bytes | None, pattern: bytes | None) -> Description | None:
    """The description in columns of `serving.database.tables.Description`."""
    if named is None or pattern is None:
        return None
    return Description(np.frombuffer(named, _NAMED), np.frombuffer(pattern, _PATTERN), '')


def store(sessions: sessionmaker[Session], rows: Sequence[dict[str, Any]]) -> bool:
    """Stores descriptions, but for images that have one already.

    Returns:
      False if another gateway has described one of the images meanwhile: then nothing is stored.
    """
    if not rows:
        return True
    number = tables.Description.image_number
    try:
        with sessions() as session, session.begin():
            numbers = [row['image_number'] for row in rows]
            known = set(session.scalars(select(number).where(number.in_(numbers))))
            if new := [row for row in rows if row['image_number'] not in known]:
                session.execute(insert(tables.Description), new)
    except IntegrityError:
        return False
    return True


class Describer:
    """A thread that describes answered images until `close`.

    Args:
      sessions: of the gateway's database.
      files: the uploaded images.
      idle_s: for how many seconds no study has waited; it stops for a study that arrives.
    """

    def __init__(
        self, sessions: sessionmaker[Session], files: ImageFiles, idle_s: Callable[[], float]
    ):
        self._sessions, self._files, self._idle_s = sessions, files, idle_s
        self._look, self._closed = threading.Event(), threading.Event()
        # All images up to this number are described, or need not be.
        self._done = 0
        self._problem = ''
        self._thread = threading.Thread(target=self._work, name='describer')
        self._thread.start()

    def look(self) -> None:
        """Has it look for answered images soon."""
        self._look.set()

    def close(self) -> None:
        """Ends the thread after the image that is under way."""
        self._closed.set()
        self._look.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closed.is_set():
            if self._idle_s() < _IDLE_S:
                self._closed.wait(_IDLE_S)
                continue
            self._look.clear()
            try:
                is_more = self._round()
                self._problem = ''
            except (SQLAlchemyError, OSError) as error:
                is_more = False
                if str(error) != self._problem:
                    self._problem = str(error)
                    is_database = isinstance(error, SQLAlchemyError)
                    reason = connection.reason(error) if is_database else error
                    _log.error('images are not described: %s', reason)
            if not is_more:
                self._look.wait(_LOOK_S)

    def _round(self) -> bool:
        """Describes a few images; returns whether there are more."""
        with connection.reading(self._sessions) as session:
            images, done = self._missing(session)
        rows = []
        for image in images:
            if self._idle_s() < _IDLE_S or self._closed.is_set():
                break
            rows.append(describe(self._files, image))
        if store(self._sessions, rows) and len(rows) == len(images):
            self._done = done
        return bool(images)

    def _missing(self, session: Session) -> tuple[list[Image], int]:
        """Images without a description, and up to which number it then has to look no more."""
        # In this order, so that an image that arrives meanwhile is looked at later.
        done = session.scalar(select(func.max(Image.number))) or 0
        pending = session.scalar(
            select(func.min(Image.number)).join(Study).where(Study.state == PENDING)
        )
        query = (
            select(Image)
            .join(Study)
            .where(Image.number > self._done, Study.state != PENDING, Image.deleted_at.is_(None))
            .where(~exists().where(tables.Description.image_number == Image.number))
            .order_by(Image.number)
            .limit(_PER_ROUND)
        )
        images = list(session.scalars(query))
        if len(images) == _PER_ROUND:
            done = images[-1].number
        return images, min(done, pending - 1) if pending else done
