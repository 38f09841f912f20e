"""What versions answer at each site, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from serving.database.tables import PENDING, SCORED, Answer, Study

FLAGGED, NOT_FLAGGED, NOT_ASSESSED = 'flagged', 'not_flagged', 'not_assessed'
# Upper ends of the buckets of the calibrated probability.
_EDGES = tuple(number / 10 for number in range(1, 11))


class TrafficMetrics:
    """Gauges in a registry, with a series for each version and site.

    Attributes:
      studies: answered studies by version, site and result.
    """

    def __init__(self, registry: CollectorRegistry):
        self.studies = Gauge(
            'cxr_site_studies',
            'Answered studies by version, site and result; the site without a name is ""',
            ['version', 'site', 'result'],
            registry=registry,
        )
        self._probability = Gauge(
            'cxr_site_probability_bucket',
            'Studies by version and site whose calibrated probability is at most `le`',
            ['version', 'site', 'le'],
            registry=registry,
        )
        self._reasons = Gauge(
            'cxr_not_assessed_images',
            'Images that were not assessed, by version and reason',
            ['version', 'reason'],
            registry=registry,
        )

    def read(self, session: Session) -> None:
        """Sets them to what the database has."""
        of_site = (Study.version, Study.site)
        results = (
            select(*of_site, Study.state, Study.flag, func.count())
            .where(Study.state != PENDING)
            .group_by(*of_site, Study.state, Study.flag)
        )
        for version, site, state, flag, count in session.execute(results):
            assessed = FLAGGED if flag else NOT_FLAGGED
            result = assessed if state == SCORED else NOT_ASSESSED
            self.studies.labels(version, site, result).set(count)
        below = [func.sum(case((Study.probability <= edge, 1), else_=0)) for edge in _EDGES]
        buckets = select(*of_site, *below).where(Study.probability.is_not(None)).group_by(*of_site)
        for version, site, *counts in session.execute(buckets):
            for edge, count in zip(_EDGES, counts, strict=True):
                self._probability.labels(version, site, edge).set(count)
            # Every probability is at most 1.
            self._probability.labels(version, site, '+Inf').set(counts[-1])
        reasons = (
            select(Answer.version, Answer.reason, func.count())
            .where(Answer.role == 'stable', Answer.reason != '')
            .group_by(Answer.version, Answer.reason)
        )
        for version, reason, count in session.execute(reasons):
            self._reasons.labels(version, reason).set(count)
