"""Reports that wait to be sent: planned with the answers, retried until a target accepts them.

A report has a row for each target, added in the transaction that records the answers. So no
assessed study is without one. Whatever is killed and sent again, the target keeps one report, as
the id of a report follows from its study and the number of its images.
"""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Callable

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from serving import audit, studies
from serving.database import connection
from serving.database.tables import PENDING, Answer, Image, Report, Study
from serving.pacs import concepts, targets, unsent
from serving.pacs.settings import PacsSettings, Target

_log = logging.getLogger(__name__)
_ACTOR = 'gateway'
_IDLE_S = 0.5
# Until another gateway may try a report that this one is about to send.
_LEASE_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 300.0
_REPORTS_PER_ROUND = 20
_MAX_PROBLEM = 300


class Outbox:
    """Plans reports, and sends those that are due with a thread for each target from `start` to
    `close`.

    Args:
      sessions: of the gateway's database.
      settings: with the targets.
      build: makes the report for a target about a study whose images and answers are loaded.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        settings: PacsSettings,
        build: Callable[[Target, Study, list[int]], bytes],
    ):
        self._sessions, self._settings, self._build = sessions, settings, build
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(target,), name=f'reports {target.name}')
            for target in settings.targets
        ]

    def start(self) -> None:
        """Sends from now on."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the threads after the reports that are being sent."""
        self._closed.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def plan(self, session: Session, study: Study) -> None:
        """Adds the reports about a study that has just got its answers.

        Args:
          session: the one that records the answers.
          study: a study. Without a DICOM study, there is no patient to report about, so only
            webhooks are told.
        """
        due_for = [
            target
            for target in self._settings.targets
            if study.dicom_key is not None or not target.names_patients
        ]
        if not due_for:
            return
        session.flush()
        images = session.scalar(
            select(func.count())
            .select_from(Answer)
            .join(Image)
            .where(Image.study_number == study.number, Answer.role == studies.STABLE)
        )
        session.execute(
            delete(Report).where(
                Report.study_number == study.number, Report.attempts == 0, unsent.waiting()
            )
        )
        due_at = _now() + datetime.timedelta(seconds=self._settings.report_after_s)
        session.add_all(
            Report(study_number=study.number, target=target.name, images=images, due_at=due_at)
            for target in due_for
        )

    def _work(self, target: Target) -> None:
        while not self._closed.is_set():
            try:
                is_more = self._round(target)
            except SQLAlchemyError as error:
                _log.error('reports wait: database: %s', connection.reason(error))
                is_more = False
            except Exception:  # noqa: BLE001 - other reports are sent
                _log.exception('reports wait')
                is_more = False
            if not is_more:
                self._closed.wait(_IDLE_S)

    def _round(self, target: Target) -> bool:
        """Sends the reports that are due; returns whether there were any."""
        due = self._claim(target)
        if not due:
            return False
        with targets.opened(target, self._settings) as send:
            for number in due:
                if self._closed.is_set():
                    break
                try:
                    problem = send(*self._content(number, target))
                except Exception as error:  # noqa: BLE001 - each report fails on its own
                    # Its message may have a value of a header in it.
                    problem = f'the report cannot be made: {type(error).__name__}'
                self._record(number, target, problem)
        return True

    def _claim(self, target: Target) -> list[int]:
        """The numbers of reports that are due and that no other gateway is sending."""
        now = _now()
        query = (
            select(Report.number, Report.due_at)
            .join(Study)
            .where(
                Report.target == target.name,
                unsent.waiting(),
                Report.due_at <= now,
                # While an image waits, the report about all of them is to come.
                Study.state != PENDING,
            )
            .order_by(Report.due_at)
            .limit(_REPORTS_PER_ROUND)
        )
        with connection.reading(self._sessions) as session:
            due = session.execute(query).all()
        if not due:
            return []
        lease = now + datetime.timedelta(seconds=_LEASE_S)
        claimed = []
        with self._sessions() as session, session.begin():
            for number, due_at in due:
                result = session.execute(
                    update(Report)
                    .where(Report.number == number, Report.due_at == due_at, unsent.waiting())
                    .values(due_at=lease, attempts=Report.attempts + 1)
                )
                if result.rowcount:  # type: ignore[attr-defined]
                    claimed.append(number)
        return claimed

    def _content(self, number: int, target: Target) -> tuple[bytes, str]:
        """A report, and its id."""
        with connection.reading(self._sessions) as session:
            report = session.get_one(Report, number)
            study = studies.find(session, report.study.id)
            assert study is not None
            earlier = session.scalars(
                select(Report.images)
                .where(
                    Report.study_number == study.number,
                    Report.images < report.images,
                )
                .distinct()
            )
            revisions = sorted({report.images, *earlier})
            id = concepts.stable_uuid(study.id, 'report', report.images)
            return self._build(target, study, revisions), str(id)

    def _record(self, number: int, target: Target, problem: str) -> None:
        now = _now()
        with self._sessions() as session, session.begin():
            report = session.get_one(Report, number)
            if not problem:
                # It may have been given up while it was on its way.
                report.sent_at, report.given_up_at, report.problem = now, None, ''
                audit.append(
                    session,
                    _ACTOR,
                    'report sent',
                    report.study.id,
                    target=target.name,
                    images=report.images,
                    attempts=report.attempts,
                )
                return
            if problem[:_MAX_PROBLEM] != report.problem:
                _log.error('%s: report not sent: %s', target.name, problem)
            report.problem = problem[:_MAX_PROBLEM]
            pause = min(_FIRST_PAUSE_S * 2 ** min(report.attempts - 1, 16), _LONGEST_PAUSE_S)
            report.due_at = now + datetime.timedelta(seconds=pause)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
