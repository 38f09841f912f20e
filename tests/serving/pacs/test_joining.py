"""DICOM studies in both databases: images that join, come twice, or arrive while one is scored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.orm import Session, sessionmaker

from serving import audit, studies
from serving.claims import claimed
from serving.database import connection
from serving.database.tables import Study
from serving.pacs import joining
from serving.pacs.origin import Identity
from serving.studies import Outcome
from serving.uploads import Upload


def _identity(number: int = 1, study: str = '1.2.3') -> Identity:
    return Identity('1.2.840.10008.5.1.4.1.1.1.1', f'{study}.{number}', study)


def _join(sessions: sessionmaker[Session], identity: Identity) -> bool:
    image = studies.NewImage(studies.new_id(), Upload('dicom', 600, 500), 'ab' * 32, 1234)
    return joining.join(sessions, image, identity, 'dicom:ROOM1')


def _outcome(probability: float) -> Outcome:
    return Outcome(7, probability, probability >= 0.5, '', 0.5)


def _score(sessions: sessionmaker[Session], *probabilities: float) -> None:
    """Scores the one study that waits; a probability for each image that waits."""
    with claimed(sessions, 8) as waiting, sessions() as session, session.begin():
        (current,) = studies.still_pending(session, waiting)
        studies.record_answers(session, [(current, [_outcome(p) for p in probabilities])])


def _study(sessions: sessionmaker[Session]) -> Study:
    with sessions() as session:
        page = studies.work_list(session, studies.Filters())
        (row,) = page.studies
        study = studies.find(session, row.id)
        assert study is not None
        return study


def test_images_of_a_study_are_one_row_with_the_highest_answer(
    sessions: sessionmaker[Session],
) -> None:
    assert _join(sessions, _identity(1))
    _score(sessions, 0.8)
    with sessions() as session, session.begin():
        study = studies.find(session, _study(sessions).id)
        assert study is not None
        studies.add_reading(session, study, 'reader', 'normal', [], '')
    assert _join(sessions, _identity(2))
    study = _study(sessions)
    assert (study.state, study.is_read) == ('pending', False)
    _score(sessions, 0.3)
    study = _study(sessions)
    assert (study.state, study.probability, study.flag) == ('scored', 0.8, True)
    assert [image.position for image in study.images] == [0, 1]
    assert [image.answers[0].probability for image in study.images] == [0.8, 0.3]
    with connection.reading(sessions) as session:
        assert audit.verify(session)[2] == []


def test_an_image_joins_once(sessions: sessionmaker[Session]) -> None:
    assert not joining.is_known(sessions, _identity())
    assert _join(sessions, _identity())
    assert joining.is_known(sessions, _identity())
    assert not _join(sessions, _identity())
    assert len(_study(sessions).images) == 1
    assert joining.known(sessions, {'1.2.3.1', '1.2.3.2'}) == {'1.2.3.1'}


def test_answers_do_not_count_if_an_image_joined_meanwhile(
    sessions: sessionmaker[Session],
) -> None:
    _join(sessions, _identity(1))
    with claimed(sessions, 8) as waiting:
        _join(sessions, _identity(2))
        with sessions() as session, session.begin():
            assert studies.still_pending(session, waiting) == []
    _score(sessions, 0.2, 0.9)
    assert _study(sessions).probability == 0.9


def test_images_that_arrive_at_the_same_time_make_one_study(
    sessions: sessionmaker[Session],
) -> None:
    with ThreadPoolExecutor(8) as pool:
        joined = pool.map(lambda number: _join(sessions, _identity(number // 2)), range(16))
    assert sum(joined) == 8
    study = _study(sessions)
    assert sorted(image.position for image in study.images) == list(range(8))


def test_the_database_has_no_uid(sessions: sessionmaker[Session]) -> None:
    _join(sessions, _identity(1, '1.2.826.0.1.3680043.42'))
    study = _study(sessions)
    values = [
        str(value)
        for row in (study, *study.images)
        for value in vars(row).values()
        if not isinstance(value, list)
    ]
    assert values and not any('1.2.826' in value for value in values)
