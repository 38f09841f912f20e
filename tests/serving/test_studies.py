"""Studies in both databases: acceptance, answers, readings, the work list."""

from __future__ import annotations

import datetime

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from serving import audit, studies
from serving.database.tables import Answer, Study
from serving.studies import Filters, Outcome, StudyError
from serving.uploads import Upload

_PATIENT = 'Mrs. Example'
_ALL = Filters()


def _image(id: str | None = None) -> studies.NewImage:
    return studies.NewImage(id or studies.new_id(), Upload('png', 600, 500), 'ab' * 32, 1234)


def _outcome(probability: float | None, threshold: float = 0.5, reason: str = '') -> Outcome:
    flag = True if probability is None else probability >= threshold
    return Outcome(7, probability, flag, reason, threshold)


def _accept(sessions: sessionmaker[Session], images: int = 1, reference: str = '') -> str:
    with sessions() as session, session.begin():
        return studies.accept(session, [_image() for _ in range(images)], 'ward', reference).id


def _score(sessions: sessionmaker[Session], id: str, *outcomes: Outcome) -> None:
    with sessions() as session, session.begin():
        study = studies.find(session, id)
        assert study is not None
        studies.record_answers(session, [(study, outcomes)])


def _list(sessions: sessionmaker[Session], filters: Filters = _ALL, **options) -> list[str]:
    with sessions() as session:
        return [study.id for study in studies.work_list(session, filters, **options).studies]


def test_an_accepted_study_waits_and_is_scored_once(sessions: sessionmaker[Session]) -> None:
    id = _accept(sessions, images=2)
    with sessions() as session, session.begin():
        waiting = studies.find(session, id)
        assert waiting is not None and studies.still_pending(session, [waiting]) == [waiting]
        assert (waiting.id, waiting.state, waiting.probability) == (id, 'pending', None)
        assert studies.is_pending(session, id) and not studies.is_pending(session, 'other')
    _score(sessions, id, _outcome(0.2), _outcome(0.8))
    with sessions() as session, session.begin():
        assert studies.still_pending(session, [waiting]) == []
        assert not studies.is_pending(session, id)
        study = studies.find(session, id)
        assert study is not None
        assert (study.state, study.probability, study.flag, study.version) == (
            'scored',
            0.8,
            True,
            7,
        )
        assert study.scored_at is not None and study.scored_at.tzinfo is not None
    with pytest.raises(IntegrityError):
        _score(sessions, id, _outcome(0.2), _outcome(0.8))
    with sessions() as session:
        assert len(list(session.scalars(select(Answer)))) == 2


@pytest.mark.parametrize(
    ('outcomes', 'expected'),
    [
        ([_outcome(0.2), _outcome(0.3)], ('scored', 0.3, False)),
        ([_outcome(None, reason='blank')], ('not_assessed', None, True)),
        ([_outcome(0.2), _outcome(None, reason='blank')], ('scored', 0.2, False)),
        ([_outcome(0.9), _outcome(None, reason='blank')], ('scored', 0.9, True)),
    ],
    ids=['normal', 'not assessed', 'one of two assessed', 'flagged and not assessed'],
)
def test_the_study_has_the_highest_answer(
    sessions: sessionmaker[Session], outcomes: list[Outcome], expected: tuple
) -> None:
    id = _accept(sessions, images=len(outcomes))
    _score(sessions, id, *outcomes)
    with sessions() as session:
        study = studies.find(session, id)
        assert study is not None
        assert (study.state, study.probability, study.flag) == expected


def test_the_canary_changes_nothing_that_is_shown(sessions: sessionmaker[Session]) -> None:
    id = _accept(sessions)
    _score(sessions, id, _outcome(0.2))
    with sessions() as session, session.begin():
        study = studies.find(session, id)
        assert study is not None
        studies.record_answers(session, [], [(study, [Outcome(8, 0.9, True)])])
    with sessions() as session:
        study = studies.find(session, id)
        assert study is not None
        assert (study.probability, study.flag, study.version) == (0.2, False, 7)
        assert [answer.role for answer in study.images[0].answers] == ['stable', 'canary']


def test_readings_are_kept_and_the_log_has_no_free_text(sessions: sessionmaker[Session]) -> None:
    id = _accept(sessions)
    _score(sessions, id, _outcome(0.7))
    for verdict, findings, text in (
        ('normal', [], ''),
        ('abnormal', ['Effusion'], f'{_PATIENT}: left side'),
    ):
        with sessions() as session, session.begin():
            study = studies.find(session, id)
            assert study is not None
            studies.add_reading(session, study, 'dr', verdict, findings, text)
    with sessions() as session:
        study = studies.find(session, id)
        assert study is not None
        assert [reading.verdict for reading in study.readings] == ['normal', 'abnormal']
        assert study.is_read and study.readings[1].version == 7
        assert _PATIENT not in ''.join(audit.to_json_lines(session))


@pytest.mark.parametrize(
    ('verdict', 'findings', 'message'),
    [
        ('perhaps', [], 'perhaps'),
        ('abnormal', ['Measles'], 'Measles'),
        ('normal', ['Effusion'], 'need the verdict abnormal'),
    ],
)
def test_a_reading_that_makes_no_sense_is_refused(
    sessions: sessionmaker[Session], verdict: str, findings: list[str], message: str
) -> None:
    id = _accept(sessions)
    with sessions() as session:
        study = studies.find(session, id)
        assert study is not None
        with pytest.raises(StudyError, match=message):
            studies.add_reading(session, study, 'dr', verdict, findings, '')


@pytest.fixture(scope='module')
def many(shared_sessions: sessionmaker[Session]) -> list[str]:
    """Seven studies in the order of arrival: probabilities with ties, and two that wait."""
    ids = [_accept(shared_sessions, reference=f'Ward_{number}%') for number in range(7)]
    for id, probability in zip(ids[:5], (0.5, 0.9, 0.1, 0.5, 0.5), strict=True):
        _score(shared_sessions, id, _outcome(probability, threshold=0.4))
    return ids


@pytest.mark.parametrize('limit', [1, 2, 3, 7, 50])
@pytest.mark.parametrize(
    ('sort', 'order'),
    [
        ('-arrived', [6, 5, 4, 3, 2, 1, 0]),
        ('arrived', [0, 1, 2, 3, 4, 5, 6]),
        ('-probability', [1, 4, 3, 0, 2, 6, 5]),
        ('probability', [5, 6, 2, 0, 3, 4, 1]),
    ],
)
def test_pages_together_show_every_study_once(
    shared_sessions: sessionmaker[Session], many: list[str], sort: str, order: list[int], limit: int
) -> None:
    shown, cursor = [], ''
    while True:
        with shared_sessions() as session:
            page = studies.work_list(session, Filters(), sort, cursor, limit)
        assert page.total == 7 and len(page.studies) <= limit
        shown += [study.id for study in page.studies]
        cursor = page.next_cursor
        if not cursor:
            break
    assert shown == [many[index] for index in order]


@pytest.mark.parametrize(
    ('filters', 'expected'),
    [
        (Filters(state='pending'), [5, 6]),
        (Filters(flag=True), [0, 1, 3, 4]),
        (Filters(flag=False), [2]),
        (Filters(search='ward_3%'), [3]),
        (Filters(search='WARD'), [0, 1, 2, 3, 4, 5, 6]),
        (Filters(search='ward%3'), []),
        (Filters(is_read=True), []),
        (Filters(state='scored', flag=True, search='_4'), [4]),
    ],
    ids=str,
)
def test_filters(
    shared_sessions: sessionmaker[Session], many: list[str], filters: Filters, expected: list[int]
) -> None:
    assert _list(shared_sessions, filters, sort='arrived') == [many[index] for index in expected]


def test_a_search_finds_the_start_of_an_id(
    shared_sessions: sessionmaker[Session], many: list[str]
) -> None:
    assert _list(shared_sessions, Filters(search=many[2][:12])) == [many[2]]


def test_times_restrict_the_list(shared_sessions: sessionmaker[Session], many: list[str]) -> None:
    with shared_sessions() as session:
        arrived = session.scalar(select(Study.arrived_at).where(Study.id == many[3]))
    assert arrived is not None
    zone = datetime.timezone(datetime.timedelta(hours=5))
    assert (
        _list(shared_sessions, Filters(since=arrived.astimezone(zone)), sort='arrived') == many[3:]
    )
    assert (
        _list(shared_sessions, Filters(until=arrived.astimezone(zone)), sort='arrived') == many[:3]
    )


@pytest.mark.parametrize(
    ('filters', 'options', 'message'),
    [
        (Filters(state='lost'), {}, "state 'lost'"),
        (Filters(), {'sort': 'size'}, "sort 'size'"),
        (Filters(), {'cursor': 'x'}, 'cursor'),
        (Filters(), {'cursor': 'W10='}, 'cursor'),
        (Filters(), {'sort': 'probability', 'cursor': 'WzFd'}, 'cursor'),
    ],
)
def test_a_wrong_question_is_refused(
    shared_sessions: sessionmaker[Session], filters: Filters, options: dict, message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        _list(shared_sessions, filters, **options)
