"""Reports that nobody accepts: they keep the files of a study for some days, then are given up."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from serving import audit, studies
from serving.database import connection
from serving.database.tables import PENDING, Image, Report, Study
from serving.gateway.metrics import Metrics
from serving.gateway.settings import Settings
from serving.housekeeping import Housekeeping
from serving.image_files import ImageFiles
from serving.pacs import resending, unsent
from serving.pacs.resending import Selection
from serving.pacs.settings import PacsSettings, Target
from serving.pacs.unsent import Patience
from serving.uploads import Upload

_ARCHIVE, _GONE, _HOOK = 'dicom://A@a:1', 'dicom://GONE@b:2', 'webhook+https://c/hook'
_PATIENCE = Patience(frozenset({_ARCHIVE, _HOOK}), 37)
_NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    return ImageFiles(tmp_path / 'images')


def _days_ago(days: float) -> datetime.datetime:
    return _NOW - datetime.timedelta(days=days)


def _add(
    sessions: sessionmaker[Session],
    files: ImageFiles,
    age: float = 0,
    target: str = _ARCHIVE,
    **report: object,
) -> str:
    """Adds a study with an image and a report, and returns its id."""
    image = studies.NewImage(studies.new_id(), Upload('dicom', 600, 500), 'ab' * 32, 1)
    files.write(image.id, b'1')
    with sessions() as session, session.begin():
        study = studies.accept(session, [image], 'ward', '')
        outcome = studies.Outcome(1, 0.5, True)
        studies.record_answers(session, [(study, [outcome])])
        study.arrived_at = _days_ago(age)
        values = {'images': 1, 'due_at': _NOW, 'attempts': 1, **report}
        session.add(Report(study_number=study.number, target=target, **values))
        return study.id


def _report(sessions: sessionmaker[Session], study: str) -> Report:
    with sessions() as session:
        return session.scalars(select(Report).join(Study).where(Study.id == study)).one()


def _is_deleted(sessions: sessionmaker[Session], study: str) -> bool:
    with sessions() as session:
        image = session.scalars(select(Image).join(Study).where(Study.id == study)).one()
        return image.deleted_at is not None


@pytest.mark.parametrize(
    ('age', 'report', 'is_given_up', 'is_deleted'),
    [
        (31, {}, False, False),
        (38, {}, True, True),
        (38, {'attempts': 0}, False, False),
        (38, {'sent_at': _NOW}, False, True),
        (29, {'target': _GONE, 'due_at': _days_ago(2), 'attempts': 0}, True, False),
        (31, {'target': _GONE, 'due_at': _days_ago(2)}, True, True),
        (31, {'target': _GONE, 'due_at': _days_ago(0.5)}, False, False),
    ],
    ids=['waits', 'too old', 'too old, not tried', 'sent', 'no target', 'no target, old', 'tried'],
)
def test_which_reports_are_given_up_and_which_files_are_deleted(
    sessions: sessionmaker[Session],
    files: ImageFiles,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    age: float,
    report: dict[str, object],
    is_given_up: bool,
    is_deleted: bool,
) -> None:
    study = _add(sessions, files, age, **report)
    housekeeping = Housekeeping(sessions, files, tmp_path, 30, patience=_PATIENCE)
    housekeeping.run()
    assert (_report(sessions, study).given_up_at is not None) == is_given_up
    assert _is_deleted(sessions, study) == is_deleted
    assert ('gave up 1 reports' in caplog.text) == is_given_up
    with sessions() as session:
        entries = [e for e in audit.entries(session) if e.action == 'report given up']
        assert audit.verify(session)[2] == []
    assert [entry.subject for entry in entries] == ([study] if is_given_up else [])


def test_without_a_limit_reports_keep_the_files(
    sessions: sessionmaker[Session], files: ImageFiles, tmp_path: Path
) -> None:
    study = _add(sessions, files, 1000)
    housekeeping = Housekeeping(sessions, files, tmp_path, 30, patience=Patience({_ARCHIVE}))
    assert (housekeeping.give_up_reports(), housekeeping.delete_expired()) == (0, 0)
    assert not _is_deleted(sessions, study)


def test_a_study_that_waits_for_answers_keeps_its_reports(
    sessions: sessionmaker[Session], files: ImageFiles, tmp_path: Path
) -> None:
    study = _add(sessions, files, 1000)
    with sessions() as session, session.begin():
        row = studies.find(session, study)
        assert row is not None
        row.state = PENDING
    assert Housekeeping(sessions, files, tmp_path, 30, patience=_PATIENCE).give_up_reports() == 0


@pytest.mark.parametrize(
    ('report_days', 'expected'), [(0, 0), (7, 37)], ids=['no limit', 'after the retention']
)
def test_the_limit_follows_the_retention(report_days: int, expected: int) -> None:
    pacs = PacsSettings(targets=(Target.parse(_ARCHIVE),), report_days=report_days)
    settings = Settings('t', 'm', Path('d'), 'sqlite://', retention_days=30, pacs=pacs)
    assert settings.report_patience == Patience(frozenset({_ARCHIVE}), expected)


def test_the_metrics_count_reports_by_state(
    sessions: sessionmaker[Session], files: ImageFiles
) -> None:
    _add(sessions, files, given_up_at=_NOW)
    _add(sessions, files, sent_at=_NOW)
    _add(sessions, files, sent_at=_NOW)
    metrics = Metrics()
    metrics.read_database(lambda: connection.reading(sessions))
    value = metrics.registry.get_sample_value
    states = ('waiting', 'sent', 'given_up')
    assert [value('cxr_reports', {'state': state}) for state in states] == [0, 2, 1]
    # One that is given up waits no longer, so no alert is about it for ever.
    assert value('cxr_oldest_report_seconds') == 0


def _resend(
    sessions: sessionmaker[Session], selection: Selection
) -> tuple[dict[str, int], dict[str, int]]:
    with sessions() as session, session.begin():
        resent = resending.resend(session, selection, 'ann')
    return resent.again, resent.without_files


@pytest.mark.parametrize(
    ('selection', 'ages'),
    [
        (Selection(), [1, 2, 3]),
        (Selection(since=_days_ago(2.5)), [1, 2]),
        (Selection(before=_days_ago(2.5)), [3]),
        (Selection(target=_GONE), [2]),
        (Selection(given_up_only=True), [3]),
        (Selection(study='nonsense'), []),
    ],
    ids=['all', 'since', 'before', 'target', 'given up', 'study'],
)
def test_the_selected_reports_are_sent_again(
    sessions: sessionmaker[Session], files: ImageFiles, selection: Selection, ages: list[int]
) -> None:
    by_age = {
        1: _add(sessions, files, 1, sent_at=_NOW, attempts=9),
        2: _add(sessions, files, 2, _GONE, sent_at=_NOW),
        3: _add(sessions, files, 3, given_up_at=_NOW, attempts=0),
    }
    again, without_files = _resend(sessions, selection)
    assert (sum(again.values()), without_files) == (len(ages), {})
    with sessions() as session:
        waiting = session.scalars(select(Report).where(unsent.waiting()).order_by(Report.number))
        assert [report.study.id for report in waiting] == [by_age[age] for age in ages]
        entries = [e for e in audit.entries(session) if e.action == 'report resend']
        assert audit.verify(session)[2] == []
    assert [(e.actor, e.subject) for e in entries] == [('ann', by_age[age]) for age in ages]
    assert _report(sessions, by_age[3]).attempts == 0
    assert _report(sessions, by_age[1]).attempts == (1 if 1 in ages else 9)


def test_a_report_without_files_is_counted_unless_it_needs_none(
    sessions: sessionmaker[Session], files: ImageFiles, tmp_path: Path
) -> None:
    for target in (_ARCHIVE, _HOOK):
        _add(sessions, files, 100, target, given_up_at=_NOW)
    assert Housekeeping(sessions, files, tmp_path, 30).delete_expired() == 2
    assert _resend(sessions, Selection()) == ({_HOOK: 1}, {_ARCHIVE: 1})


def test_only_the_latest_report_about_a_study_is_sent_again(
    sessions: sessionmaker[Session], files: ImageFiles
) -> None:
    study = _add(sessions, files, sent_at=_NOW)
    with sessions() as session, session.begin():
        row = studies.find(session, study)
        assert row is not None
        values = {'images': 2, 'due_at': _NOW, 'attempts': 1, 'sent_at': _NOW}
        session.add(Report(study_number=row.number, target=_ARCHIVE, **values))
    assert _resend(sessions, Selection(study=study)) == ({_ARCHIVE: 1}, {})
    with sessions() as session:
        assert [r.images for r in session.scalars(select(Report).where(unsent.waiting()))] == [2]
        (entry,) = (e for e in audit.entries(session) if e.action == 'report resend')
    assert json.loads(entry.details) == {'target': _ARCHIVE, 'images': 2, 'was': 'sent'}
