"""What Prometheus reads at /metrics."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from serving.database.tables import PENDING, STATES, Answer, Report, Study
from serving.gateway.traffic_metrics import TrafficMetrics
from serving.pacs import unsent
from serving.served_versions import VersionInfo

_METHODS = frozenset({'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'})


class Metrics:
    """The figures of one gateway, in a registry of its own.

    Args:
      version_info: what is on record about a version.
    """

    def __init__(self, version_info: Callable[[int], VersionInfo] = VersionInfo) -> None:
        self._version_info = version_info
        self.registry = CollectorRegistry()
        self.flagged_share_bound = Gauge(
            'cxr_flagged_share_bound',
            'Lowest and highest share of assessed images that a version flags, by its test results',
            ['version', 'bound'],
            registry=self.registry,
        )
        self.requests = Counter(
            'cxr_requests_total',
            'HTTP requests',
            ['method', 'route', 'status'],
            registry=self.registry,
        )
        self.latency = Histogram(
            'cxr_request_seconds', 'Duration of HTTP requests', ['route'], registry=self.registry
        )
        self.studies = Gauge('cxr_studies', 'Studies by state', ['state'], registry=self.registry)
        self.oldest_pending = Gauge(
            'cxr_oldest_pending_seconds', 'Age of the oldest unscored study', registry=self.registry
        )
        self.answers = Gauge(
            'cxr_answers',
            'Answers by version and flag, of images that were assessed or not',
            ['version', 'flag', 'assessed'],
            registry=self.registry,
        )
        self.reports = Gauge('cxr_reports', 'Reports by state', ['state'], registry=self.registry)
        self.oldest_report = Gauge(
            'cxr_oldest_report_seconds',
            'Age of the oldest answer whose report a target has not accepted',
            registry=self.registry,
        )
        self.model_server_up = Gauge(
            'cxr_model_server_up', 'Whether a version is available', registry=self.registry
        )
        self.traffic = TrafficMetrics(self.registry)

    def count(self, scope: dict[str, Any], status: int, seconds: float) -> None:
        """Counts a request of an ASGI scope."""
        # The route, not the path, which has ids in it; and no name that a client invents.
        route = getattr(scope.get('route'), 'path', 'unknown')
        method = scope['method'] if scope['method'] in _METHODS else 'other'
        self.requests.labels(method, route, status).inc()
        self.latency.labels(route).observe(seconds)

    def read_database(self, reading: Callable[[], AbstractContextManager[Session]]) -> None:
        """Sets the figures that the database has, so that several gateways report the same."""
        assessed = Answer.reason == ''
        with reading() as session:
            rows = session.execute(select(Study.state, func.count()).group_by(Study.state))
            counts: dict[str, int] = dict(row._tuple() for row in rows)
            oldest = session.scalar(
                select(func.min(Study.arrived_at)).where(Study.state == PENDING)
            )
            answers = session.execute(
                select(Answer.version, Answer.flag, assessed, func.count())
                .where(Answer.role == 'stable')
                .group_by(Answer.version, Answer.flag, assessed)
            ).all()
            reports = select(func.count()).select_from(Report)
            reports_sent = session.scalar(reports.where(Report.sent_at.is_not(None)))
            given_up = session.scalar(reports.where(Report.given_up_at.is_not(None)))
            reports_waiting, oldest_report = session.execute(
                select(func.count(), func.min(Study.scored_at))
                .select_from(Report)
                .join(Study)
                .where(unsent.waiting())
            ).one()
            self.traffic.read(session)
        for state in STATES:
            self.studies.labels(state).set(counts.get(state, 0))
        now = datetime.datetime.now(datetime.timezone.utc)
        self.oldest_pending.set((now - oldest).total_seconds() if oldest else 0.0)
        self.reports.labels('sent').set(reports_sent or 0)
        self.reports.labels('waiting').set(reports_waiting)
        self.reports.labels('given_up').set(given_up or 0)
        age = (now - oldest_report).total_seconds() if oldest_report else 0.0
        self.oldest_report.set(age)
        for version, flag, is_assessed, count in answers:
            self.answers.labels(version, _text(flag), _text(is_assessed)).set(count)
            self._set_bounds(version)

    def _set_bounds(self, version: int) -> None:
        """Sets which flagged shares are possible, from only normal to only abnormal images."""
        info = self._version_info(version)
        if info.specificity.upper is not None:
            self.flagged_share_bound.labels(version, 'lowest').set(1 - info.specificity.upper)
        if info.sensitivity.upper is not None:
            self.flagged_share_bound.labels(version, 'highest').set(info.sensitivity.upper)


def _text(value: Any) -> str:
    return str(bool(value)).lower()
