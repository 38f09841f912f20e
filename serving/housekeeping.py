"""What a gateway does in its idle time: retention, leftover files, the record of releases."""

from __future__ import annotations

import datetime
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Select, exists, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from components.pusher import journal
from serving import audit, descriptions
from serving.database import connection
from serving.database.tables import PENDING, AuditEntry, Description, Image, Report, Study
from serving.image_files import ImageFiles
from serving.pacs import unsent

_log = logging.getLogger(__name__)
_ACTOR = 'gateway'
_RELEASE = 'release'
_STUDIES_PER_ROUND = 100
_IDS_PER_QUERY = 500
# Studies that arrive have to wait for as many.
_DESCRIBED_PER_ROUND = 4
_PAUSE_S = 3600.0
# An upload writes its files before its study is in the database. No upload takes that long.
_UPLOAD_S = 3600.0


class Housekeeping:
    """The work of one gateway; several may do it on the same database and files.

    Args:
      sessions: of the database.
      files: the uploaded images.
      target: the push directory, whose record of releases is copied into the audit log.
      retention_days: how long image files are kept; 0 for ever.
      origins: what is kept of DICOM headers, by image; goes with the image.
      patience: when reports are given up, which no longer keep files then.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        files: ImageFiles,
        target: Path,
        retention_days: int = 0,
        origins: ImageFiles | None = None,
        patience: unsent.Patience | None = None,
    ):
        self._sessions, self._target = sessions, target
        self._folders = [files, origins] if origins else [files]
        self._retention_days, self._patience = retention_days, patience
        self._due = 0.0
        self._journal_state: tuple[int, int] | None = None
        self._problem = ''

    def run(self) -> None:
        """Does what is due; takes no time when nothing is. Problems go to the log, once each."""
        try:
            self._copy_new_releases()
            if time.monotonic() >= self._due:
                is_more = self.give_up_reports() + self.delete_expired()
                if not is_more:
                    # It lists all files, so only once.
                    self.remove_orphans()
                    self._due = time.monotonic() + _PAUSE_S
        except (OSError, SQLAlchemyError, journal.JournalError) as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.error('housekeeping: %s', error)
        else:
            self._problem = ''

    def give_up_reports(self) -> int:
        """Gives up reports that no target has accepted for too long, and returns how many."""
        if self._patience is None:
            return 0
        with self._sessions() as session, session.begin():
            return unsent.give_up(session, self._patience)

    def delete_expired(self) -> int:
        """Deletes some files of old studies, and returns how many; studies and answers stay.

        A study that still waits for its answer keeps its files, and so does one whose report waits.
        An image is described before, if it is not yet.
        """
        if not self._retention_days:
            return 0
        now = datetime.datetime.now(datetime.timezone.utc)
        oldest = now - datetime.timedelta(days=self._retention_days)
        query = (
            select(Image)
            .join(Study)
            .where(Study.arrived_at < oldest, Study.state != PENDING, Image.deleted_at.is_(None))
            .where(~exists().where(Report.study_number == Study.number, unsent.waiting()))
            .order_by(Study.number)
        )
        has_description = exists().where(Description.image_number == Image.number)
        self._describe(query.where(~has_description))
        query = query.where(has_description).limit(_STUDIES_PER_ROUND)
        with self._sessions() as session, session.begin():
            images = list(session.scalars(query.with_for_update(skip_locked=True, of=Image)))
            by_study: dict[str, list[str]] = {}
            for image in images:
                # Removed first: if the transaction fails, the next round finds nothing to remove.
                for folder in self._folders:
                    folder.remove(image.id)
                image.deleted_at = now
                by_study.setdefault(image.study.id, []).append(image.id)
            for id, deleted in by_study.items():
                audit.append(
                    session,
                    _ACTOR,
                    'images deleted',
                    id,
                    images=deleted,
                    retention_days=self._retention_days,
                )
        if images:
            _log.info(
                'deleted %d image files older than %d days', len(images), self._retention_days
            )
        return len(images)

    def _describe(self, query: Select[tuple[Image]]) -> None:
        with connection.reading(self._sessions) as session:
            images = list(session.scalars(query.limit(_DESCRIBED_PER_ROUND)))
        descriptions.store(
            self._sessions, [descriptions.describe(self._folders[0], image) for image in images]
        )

    def remove_orphans(self) -> int:
        """Removes files without a study, which a killed upload left, and returns how many.

        Younger files stay: their upload may be under way.
        """
        before = time.time() - _UPLOAD_S
        removed = sum(self._remove_orphans(folder, before) for folder in self._folders)
        if removed:
            _log.info('removed %d files of uploads that were never accepted', removed)
        return removed

    def _remove_orphans(self, files: ImageFiles, before: float) -> int:
        removed = files.remove_unfinished(before)
        ids = list(files.written_before(before))
        for start in range(0, len(ids), _IDS_PER_QUERY):
            batch = ids[start : start + _IDS_PER_QUERY]
            with self._sessions() as session:
                session.connection(execution_options={'readonly': True})
                stored = set(
                    session.scalars(
                        select(Image.id).where(Image.id.in_(batch), Image.deleted_at.is_(None))
                    )
                )
            for id in set(batch) - stored:
                files.remove(id)
                removed += 1
        return removed

    def _copy_new_releases(self) -> None:
        path = self._target / journal.NAME
        try:
            state = path.stat()
        except OSError:  # nothing was released yet, or the target is not a folder of this machine
            return
        if self._journal_state != (state.st_size, state.st_mtime_ns):
            self.copy_releases()
            self._journal_state = (state.st_size, state.st_mtime_ns)

    def copy_releases(self) -> int:
        """Copies new entries of the record of releases into the audit log; returns how many.

        Raises:
          journal.JournalError: the record is damaged.
        """
        entries: list[dict[str, Any]] = [
            {'line': line, 'release': asdict(entry)}
            for line, entry in enumerate(journal.read(self._target), start=1)
        ]
        with self._sessions() as session, session.begin():
            audit.lock(session)
            copied = {
                _key(json.loads(details))
                for details in session.scalars(
                    select(AuditEntry.details).where(AuditEntry.action == _RELEASE)
                )
            }
            new = [entry for entry in entries if _key(entry) not in copied]
            for details in new:
                release = details['release']
                version = release['before'] if release['after'] is None else release['after']
                # A person's hold may be about no version.
                subject = '' if version is None else str(version)
                audit.append(session, str(release['who'])[:100], _RELEASE, subject, **details)
        return len(new)


def _key(entry: dict[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True)
