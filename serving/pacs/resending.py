"""Sends reports again: those that a target has lost, and those that were given up.

A report keeps its id, so a target that has it already keeps one.
"""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session, aliased, contains_eager

from serving import audit
from serving.database.tables import PENDING, Image, Report, Study
from serving.pacs.settings import names_patients

SENT, GIVEN_UP, WAITING = 'sent', 'given up', 'waiting'


@dataclass(frozen=True)
class Selection:
    """Which reports; all that fit each of these.

    Attributes:
      study: the id of a study; '' for any.
      target: the name of a target; '' for any.
      since, before: when the study arrived; None for any time.
      given_up_only: whether others are left out.
    """

    study: str = ''
    target: str = ''
    since: datetime.datetime | None = None
    before: datetime.datetime | None = None
    given_up_only: bool = False


@dataclass
class Resent:
    """What becomes of the selected reports.

    Attributes:
      again: target -> how many are sent again.
      without_files: target -> how many cannot be made any more.
    """

    again: Counter[str] = field(default_factory=Counter)
    without_files: Counter[str] = field(default_factory=Counter)


def targets(session: Session) -> list[str]:
    """The names of all targets that reports were made for."""
    return sorted(session.scalars(select(Report.target).distinct()))


def resend(session: Session, selection: Selection, actor: str) -> Resent:
    """Has the gateways send the selected reports again, once `session` commits.

    Only the latest report about a study is sent, since earlier ones were about fewer images. A
    study that waits for answers gets a report anyway.

    Args:
      session: one with an open transaction.
      selection: which reports.
      actor: who wants it, for the audit log.
    """
    result = Resent()
    now = datetime.datetime.now(datetime.timezone.utc)
    without_files = exists().where(
        Image.study_number == Report.study_number, Image.deleted_at.is_not(None)
    )
    events = []
    for report, files_deleted in session.execute(
        _latest(selection).add_columns(without_files).with_for_update(of=Report)
    ).all():
        if files_deleted and names_patients(report.target):
            result.without_files[report.target] += 1
            continue
        result.again[report.target] += 1
        details = {'target': report.target, 'images': report.images, 'was': _state(report)}
        events.append(audit.Event(actor, 'report resend', report.study.id, details))
        report.sent_at = report.given_up_at = None
        report.due_at, report.problem = now, ''
        # None would mean that no target has heard of it; and the first pauses are short again.
        report.attempts = min(report.attempts, 1)
    audit.append_all(session, events)
    return result


def _latest(selection: Selection) -> Select[tuple[Report]]:
    later = aliased(Report)
    query = (
        select(Report)
        .join(Report.study)
        .options(contains_eager(Report.study))
        .where(
            Study.state != PENDING,
            ~exists().where(
                later.study_number == Report.study_number,
                later.target == Report.target,
                later.images > Report.images,
            ),
        )
        .order_by(Report.number)
    )
    if selection.study:
        query = query.where(Study.id == selection.study)
    if selection.target:
        query = query.where(Report.target == selection.target)
    if selection.since:
        query = query.where(Study.arrived_at >= selection.since)
    if selection.before:
        query = query.where(Study.arrived_at < selection.before)
    if selection.given_up_only:
        query = query.where(Report.given_up_at.is_not(None))
    return query


def _state(report: Report) -> str:
    if report.sent_at is not None:
        return SENT
    return WAITING if report.given_up_at is None else GIVEN_UP
