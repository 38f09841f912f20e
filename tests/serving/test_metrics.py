"""The figures that Prometheus reads from the database."""

from __future__ import annotations

from functools import partial

from sqlalchemy.orm import Session, sessionmaker

from serving import studies
from serving.database import connection
from serving.gateway.metrics import Metrics
from serving.served_versions import Estimate, VersionInfo
from serving.studies import NewImage, Outcome
from serving.uploads import Upload

_OUTCOMES = (
    Outcome(7, 0.9, True, '', 0.5),
    Outcome(7, 0.8, True, '', 0.5),
    Outcome(7, 0.1, False, '', 0.5),
    Outcome(7, None, True, 'blank', 0.5),
)


def _info(version: int) -> VersionInfo:
    sensitivity, specificity = Estimate(0.9, 0.85, 0.95), Estimate(0.7, 0.6, 0.75)
    return VersionInfo(version, 0.5, sensitivity=sensitivity, specificity=specificity)


def _add_study(sessions: sessionmaker[Session], *outcomes: Outcome, site: str = '') -> None:
    images = [
        NewImage(studies.new_id(), Upload('png', 600, 500), 'ab' * 32, 1234) for _ in _OUTCOMES
    ]
    with sessions.begin() as session:
        study = studies.accept(session, images[: max(len(outcomes), 1)], 'ward', '', site)
        if outcomes:
            studies.record_answers(session, [(study, outcomes)])


def test_the_database_is_counted(sessions: sessionmaker[Session]) -> None:
    _add_study(sessions, *_OUTCOMES)
    _add_study(sessions)
    metrics = Metrics(_info)
    metrics.read_database(partial(connection.reading, sessions))
    value = metrics.registry.get_sample_value
    assert value('cxr_studies', {'state': 'scored'}) == 1
    assert value('cxr_studies', {'state': 'pending'}) == 1
    assert value('cxr_studies', {'state': 'not_assessed'}) == 0
    answers = {
        (flag, assessed): value('cxr_answers', {'version': '7', 'flag': flag, 'assessed': assessed})
        for flag in ('true', 'false')
        for assessed in ('true', 'false')
    }
    assert answers == {
        ('true', 'true'): 2,
        ('false', 'true'): 1,
        ('true', 'false'): 1,
        ('false', 'false'): None,
    }
    assert value('cxr_flagged_share_bound', {'version': '7', 'bound': 'lowest'}) == 0.25
    assert value('cxr_flagged_share_bound', {'version': '7', 'bound': 'highest'}) == 0.95
    age = value('cxr_oldest_pending_seconds')
    assert age is not None and 0 <= age < 60


def test_sites_are_counted_apart(sessions: sessionmaker[Session]) -> None:
    for outcome in _OUTCOMES:
        _add_study(sessions, outcome, site='North')
    _add_study(sessions, _OUTCOMES[2])
    _add_study(sessions)
    metrics = Metrics()
    metrics.read_database(partial(connection.reading, sessions))

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, {'version': '7', **labels})

    results = {
        (site, result): value('cxr_site_studies', site=site, result=result)
        for site in ('North', '')
        for result in ('flagged', 'not_flagged', 'not_assessed')
    }
    assert results == {
        ('North', 'flagged'): 2,
        ('North', 'not_flagged'): 1,
        ('North', 'not_assessed'): 1,
        ('', 'flagged'): None,
        ('', 'not_flagged'): 1,
        ('', 'not_assessed'): None,
    }
    buckets = [
        value('cxr_site_probability_bucket', site='North', le=le)
        for le in ('0.1', '0.7', '0.8', '1.0', '+Inf')
    ]
    assert buckets == [1, 1, 2, 3, 3]
    assert value('cxr_not_assessed_images', reason='blank') == 1


def test_a_version_without_test_results_has_no_bounds(sessions: sessionmaker[Session]) -> None:
    _add_study(sessions, *_OUTCOMES)
    metrics = Metrics()
    metrics.read_database(partial(connection.reading, sessions))
    labels = {'version': '7', 'bound': 'lowest'}
    assert metrics.registry.get_sample_value('cxr_flagged_share_bound', labels) is None
