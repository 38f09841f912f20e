"""Descriptions of answered images: what has one, when it is made, and that it outlives the file."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from serving import descriptions, studies, uploads
from serving.assessment import description
from serving.database import connection
from serving.database.tables import Description, Image, Study
from serving.descriptions import Describer
from serving.housekeeping import Housekeeping
from serving.image_files import ImageFiles
from serving.studies import Outcome
from tests.support import gateways


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """An empty store of files."""
    return ImageFiles(tmp_path / 'images')


def _accept(
    sessions: sessionmaker[Session], files: ImageFiles, content: bytes, is_answered: bool = True
) -> str:
    """A study with one image, whose id is returned."""
    image = studies.NewImage(studies.new_id(), uploads.check(content), '0' * 64, len(content))
    files.write(image.id, content)
    with sessions.begin() as session:
        study = studies.accept(session, [image], 'ward')
        if is_answered:
            session.flush()
            studies.record_answers(session, [(study, [Outcome(1, 0.5, True)])])
    return image.id


def _answer(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        study = session.scalars(select(Study).where(Study.state == 'pending')).one()
        studies.record_answers(session, [(study, [Outcome(1, 0.5, True)])])


def _stored(sessions: sessionmaker[Session]) -> dict[str, Description]:
    """Image id -> its description."""
    query = select(Image.id, Description).join(
        Description, Description.image_number == Image.number
    )
    with connection.reading(sessions) as session:
        return dict(row._tuple() for row in session.execute(query))


def _wait(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_answered_images_are_described(sessions: sessionmaker[Session], files: ImageFiles) -> None:
    jpeg, dicom = gateways.jpeg(1), gateways.dicom(gateways.pixels(2), ViewPosition='AP')
    ids = [_accept(sessions, files, content) for content in (jpeg, dicom, jpeg[:3000])]
    _accept(sessions, files, gateways.jpeg(3), is_answered=False)
    describer = Describer(sessions, files, lambda: 10.0)
    try:
        _wait(lambda: len(_stored(sessions)) == 3)
        later = _accept(sessions, files, gateways.jpeg(4))
        describer.look()
        _wait(lambda: later in _stored(sessions))
        assert set(_stored(sessions)) == {*ids, later}
        # An image that waited while later ones were described is not forgotten.
        _answer(sessions)
        describer.look()
        _wait(lambda: len(_stored(sessions)) == 5)
    finally:
        describer.close()
    of_jpeg, of_dicom, of_damaged = (_stored(sessions)[id] for id in ids)
    expected = description.describe(jpeg)
    found = descriptions.stored(of_jpeg.named, of_jpeg.pattern)
    assert expected is not None and found is not None
    assert np.array_equal(found.named, expected.named)
    assert np.array_equal(found.pattern, expected.pattern)
    assert (of_jpeg.view, of_dicom.view, of_damaged.view) == ('', 'AP', '')
    assert of_dicom.pattern is not None and of_damaged.pattern is None
    assert of_jpeg.revision == description.REVISION


def test_nothing_is_described_while_studies_are_scored(
    sessions: sessionmaker[Session], files: ImageFiles
) -> None:
    ids = {_accept(sessions, files, gateways.jpeg(number)) for number in range(2)}
    calls = 0

    def idle_s() -> float:
        """Idle at the second call; a study arrives after the first image."""
        nonlocal calls
        calls += 1
        return 10.0 if calls in (2, 3) else 0.0

    describer = Describer(sessions, files, idle_s)
    try:
        _wait(lambda: calls > 6)
        assert len(_stored(sessions)) == 1
    finally:
        describer.close()
    describer = Describer(sessions, files, lambda: 10.0)
    try:
        _wait(lambda: set(_stored(sessions)) == ids)
    finally:
        describer.close()


def test_several_gateways_describe_an_image_once(
    sessions: sessionmaker[Session], files: ImageFiles
) -> None:
    ids = {_accept(sessions, files, gateways.jpeg(number % 3)) for number in range(20)}
    describers = [Describer(sessions, files, lambda: 10.0) for _ in range(3)]
    try:
        _wait(lambda: set(_stored(sessions)) == ids)
    finally:
        for describer in describers:
            describer.close()


def test_the_retention_describes_an_image_before_it_removes_the_file(
    sessions: sessionmaker[Session], files: ImageFiles, tmp_path: Path
) -> None:
    ids = {_accept(sessions, files, gateways.jpeg(number % 3)) for number in range(6)}
    long_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=31)
    with sessions.begin() as session:
        session.execute(update(Study).values(arrived_at=long_ago))
    housekeeping = Housekeeping(sessions, files, tmp_path, 30)
    deleted = [housekeeping.delete_expired() for _ in range(3)]
    # Few at a time, so that no upload waits for long.
    assert deleted == [4, 2, 0]
    assert set(_stored(sessions)) == ids
    assert all(row.pattern is not None for row in _stored(sessions).values())
    assert not list(files.written_before(time.time() + 1))


def test_an_image_whose_description_fails_does_not_stop_the_others(
    sessions: sessionmaker[Session], files: ImageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (_accept(sessions, files, gateways.jpeg(number)) for number in (1, 2))
    original = description.describe

    def fail_once(content: bytes) -> description.Description | None:
        if content == gateways.jpeg(1):
            raise MemoryError('too large')
        return original(content)

    monkeypatch.setattr(description, 'describe', fail_once)
    describer = Describer(sessions, files, lambda: 10.0)
    try:
        _wait(lambda: len(_stored(sessions)) == 2)
    finally:
        describer.close()
    assert _stored(sessions)[first].named is None
    assert _stored(sessions)[second].named is not None
