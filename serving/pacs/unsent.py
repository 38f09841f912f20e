"""Reports that no target has accepted: they keep the files of their study, but not for ever."""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from serving import audit
from serving.database.tables import PENDING, Report, Study

_log = logging.getLogger(__name__)
_ACTOR = 'gateway'
# A report is tried every few minutes while a gateway knows its target. Gateways of one database may
# have other settings for a while, and a long queue takes its time.
_FORGOTTEN = datetime.timedelta(days=1)
_REPORTS_PER_ROUND = 500
_TOO_OLD = 'not accepted within the days that reports have'
_NO_TARGET = 'its target is not in the settings'


def waiting() -> ColumnElement[bool]:
    """The condition that a report is still to be accepted by its target."""
    return and_(Report.sent_at.is_(None), Report.given_up_at.is_(None))


@dataclass(frozen=True)
class Patience:
    """When reports are given up.

    Attributes:
      targets: the names of those in the settings.
      days: how old a study is at most while its reports wait; 0 for any age.
    """

    targets: frozenset[str] = frozenset()
    days: int = 0


def give_up(session: Session, patience: Patience) -> int:
    """Gives up reports, in the transaction of `session`; `serving.pacs.resending` undoes it.

    These are reports about studies that are too old, once they were tried, and those to targets
    that were removed from the settings, once nobody has tried them for a day. A study that waits
    for answers gets another report, so its reports stay.

    Returns:
      How many; there may be more if it is `_REPORTS_PER_ROUND`.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    no_target = and_(
        Report.target.not_in(sorted(patience.targets)), Report.due_at < now - _FORGOTTEN
    )
    reasons = [no_target]
    if patience.days:
        too_old = Study.arrived_at < now - datetime.timedelta(days=patience.days)
        reasons.append(and_(too_old, Report.attempts > 0))
    query = (
        select(Report)
        .join(Study)
        .where(waiting(), Study.state != PENDING, or_(*reasons))
        .order_by(Report.number)
        .limit(_REPORTS_PER_ROUND)
        .with_for_update(skip_locked=True, of=Report)
    )
    reports = list(session.scalars(query))
    events = []
    counts: Counter[tuple[str, str]] = Counter()
    for report in reports:
        why = _TOO_OLD if report.target in patience.targets else _NO_TARGET
        report.given_up_at = now
        counts[report.target, why] += 1
        details = {
            'target': report.target,
            'images': report.images,
            'attempts': report.attempts,
            'why': why,
            'problem': report.problem,
        }
        events.append(audit.Event(_ACTOR, 'report given up', report.study.id, details))
    if events:
        audit.append_all(session, events)
    for (target, why), count in sorted(counts.items()):
        _log.error('%s: gave up %d reports: %s', target, count, why)
    return len(reports)
