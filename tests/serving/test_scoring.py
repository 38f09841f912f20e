"""The scorer and its housekeeping: refused images, retention, leftover files, releases."""

from __future__ import annotations

import datetime
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session, sessionmaker

from components.pusher import journal
from schemas import not_assessed, signatures
from serving import audit, image_answers, studies
from serving.api.client import ModelServer
from serving.database.tables import PENDING, Image, Study
from serving.housekeeping import Housekeeping
from serving.image_files import ImageFiles
from serving.releases import config_file
from serving.scoring import Scorer, Traffic
from serving.served_versions import VersionInfo
from serving.uploads import Upload
from tests.support import gateways, model_servers
from tests.support.model_servers import MODEL

_PNG = Upload('png', gateways.SIDE, gateways.SIDE)
_JPEG = Upload('jpeg', gateways.SIDE, gateways.SIDE)


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """An empty store of files."""
    return ImageFiles(tmp_path / 'images')


def _accept(sessions: sessionmaker[Session], files: ImageFiles, *contents: bytes) -> str:
    images = []
    for content in contents:
        upload = _PNG if content.startswith(b'\x89PNG') else _JPEG
        image = studies.NewImage(studies.new_id(), upload, studies.sha256(content), len(content))
        files.write(image.id, content)
        images.append(image)
    with sessions() as session, session.begin():
        return studies.accept(session, images, 'ward').id


def _state(sessions: sessionmaker[Session], id: str) -> str:
    with sessions() as session:
        study = studies.find(session, id)
        assert study is not None
        return study.state


def _wait(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(params=model_servers.KINDS, scope='module')
def fragile_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A model server that fails a whole request because of one damaged image."""
    from tests.support import tiny_model

    folder = tmp_path_factory.mktemp('fragile')
    tiny_model.export(folder / 'target' / '1', defect='raises')
    (folder / 'models.config').write_text(model_servers.config_text(folder / 'target'))
    with model_servers.running(request.param, folder / 'models.config', folder / 'log') as client:
        yield client.address


def _scorer(
    sessions: sessionmaker[Session],
    files: ImageFiles,
    address: str,
    label: Callable[[], str] = lambda: '',
    **options,
) -> Scorer:
    return Scorer(
        sessions,
        files,
        ModelServer(address),
        Traffic(MODEL, label),
        VersionInfo,
        **options,
    )


@pytest.mark.slow
def test_studies_wait_for_a_label_that_no_version_has(
    sessions: sessionmaker[Session], files: ImageFiles, fragile_server: str
) -> None:
    labels = ['stable']
    id = _accept(sessions, files, gateways.jpeg(1))
    scorer = _scorer(sessions, files, fragile_server, lambda: labels[0])
    try:
        _wait(lambda: 'stable' in scorer.problem)
        # Not the fault of the image.
        assert id not in scorer.problem
        labels[0] = ''
        _wait(lambda: _state(sessions, id) == 'scored')
    finally:
        scorer.close()


@pytest.mark.slow
def test_an_image_that_the_model_refuses_does_not_hold_up_others(
    sessions: sessionmaker[Session], files: ImageFiles, fragile_server: str
) -> None:
    refused = _accept(sessions, files, gateways.jpeg(1), b'\xff\xd8\xff damaged')
    others = [_accept(sessions, files, gateways.jpeg(n)) for n in range(2, 12)]
    recorded: list[str] = []
    scorer = _scorer(sessions, files, fragile_server, when_recorded=recorded.extend)
    try:
        _wait(lambda: all(_state(sessions, id) == 'scored' for id in others))
        assert _state(sessions, refused) == PENDING
        _wait(lambda: refused in scorer.problem)
        later = _accept(sessions, files, gateways.jpeg(1))
        scorer.wake()
        _wait(lambda: _state(sessions, later) == 'scored')
        assert refused in scorer.problem
    finally:
        scorer.close()
    # Whoever waits for the answer about the other one waits on.
    assert sorted(recorded) == sorted([*others, later])


@pytest.mark.slow
def test_a_study_that_raises_does_not_hold_up_others(
    sessions: sessionmaker[Session],
    files: ImageFiles,
    fragile_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [_accept(sessions, files, gateways.jpeg(n)) for n in range(1, 5)]
    with sessions() as session:
        study = studies.find(session, ids[1])
        assert study is not None
        bad = study.images[0].id

    def read(self: ImageFiles, id: str) -> bytes:
        if id == bad:
            raise KeyError(id)
        return real_read(self, id)

    real_read = ImageFiles.read
    monkeypatch.setattr(ImageFiles, 'read', read)
    scorer = _scorer(sessions, files, fragile_server)
    try:
        _wait(lambda: all(_state(sessions, id) == 'scored' for id in ids if id != ids[1]))
        assert _state(sessions, ids[1]) == PENDING
    finally:
        scorer.close()


@pytest.fixture(params=model_servers.KINDS)
def canary_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Version 1 is stable; version 2, the canary, fails a request with a damaged image."""
    from tests.support import tiny_model

    for version, defect in ((1, ''), (2, 'raises')):
        tiny_model.export(tmp_path / 'target' / str(version), defect=defect)
    config = config_file.build(MODEL, str(tmp_path / 'target'), {'stable': 1, 'canary': 2})
    config_file.write(tmp_path / 'models.config', config)
    with model_servers.running(
        request.param, tmp_path / 'models.config', tmp_path / 'log'
    ) as client:
        yield client.address


@pytest.mark.slow
def test_what_a_canary_fails_on_is_recorded(
    sessions: sessionmaker[Session], files: ImageFiles, canary_server: str
) -> None:
    ids = [_accept(sessions, files, content) for content in (gateways.jpeg(1), b'\xff\xd8\xff x')]
    traffic = Traffic(MODEL, lambda: 'stable', lambda: 2, 1.0)
    scorer = Scorer(sessions, files, ModelServer(canary_server), traffic, VersionInfo)
    try:
        _wait(lambda: all(_state(sessions, id) != PENDING for id in ids))
    finally:
        scorer.close()
    with sessions() as session:
        answers = [
            answer
            for image in session.scalars(select(Image).order_by(Image.number))
            for answer in image.answers
            if answer.role == studies.CANARY
        ]
        assert [(a.version, a.reason) for a in answers] == [(2, ''), (2, not_assessed.NO_ANSWER)]


@pytest.mark.slow
def test_a_canary_that_is_not_loaded_yet_has_no_answers(
    sessions: sessionmaker[Session], files: ImageFiles, fragile_server: str
) -> None:
    id = _accept(sessions, files, gateways.jpeg(1))
    traffic = Traffic(MODEL, canary=lambda: 2, canary_share=1.0)
    scorer = Scorer(sessions, files, ModelServer(fragile_server), traffic, VersionInfo)
    try:
        _wait(lambda: _state(sessions, id) == 'scored')
    finally:
        scorer.close()
    with sessions() as session:
        study = studies.find(session, id)
        assert study is not None
        assert [answer.role for answer in study.images[0].answers] == [studies.STABLE]


@pytest.fixture(params=model_servers.KINDS, scope='module')
def server_with_old_version(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A model server of version 1, which has no embeddings, as `old`, and of version 2 as `new`."""
    from tests.support import tiny_model

    folder = tmp_path_factory.mktemp('old-and-new')
    tiny_model.export(folder / 'target' / '1', defect='no_embedding')
    tiny_model.export(folder / 'target' / '2')
    policy = 'specific { versions: 1 versions: 2 }'
    text = model_servers.config_text(folder / 'target', policy, {'old': 1, 'new': 2})
    (folder / 'models.config').write_text(text)
    with model_servers.running(request.param, folder / 'models.config', folder / 'log') as client:
        yield client.address


@pytest.mark.slow
def test_answers_have_embeddings_if_the_version_has_them(
    sessions: sessionmaker[Session], files: ImageFiles, server_with_old_version: str
) -> None:
    labels = ['old']
    scorer = _scorer(sessions, files, server_with_old_version, lambda: labels[0])
    found = []
    try:
        for labels[0] in ('old', 'old', 'new', 'old'):
            id = _accept(sessions, files, gateways.jpeg(1))
            scorer.wake()
            _wait(lambda id=id: _state(sessions, id) == 'scored')
            with sessions() as session:
                (answer,) = studies.find(session, id).images[0].answers
                found.append((answer.version, answer.probability, answer.embedding))
    finally:
        scorer.close()
    assert [version for version, *_ in found] == [1, 1, 2, 1]
    assert [embedding is None for *_, embedding in found] == [True, True, False, True]
    _, probability, embedding = found[2]
    # As the tiny model has it.
    numbers = np.arange(signatures.EMBEDDING_SIZE)
    assert np.allclose(np.frombuffer(embedding, '<f4'), probability * numbers, rtol=1e-5)


@pytest.mark.slow
def test_an_image_without_a_file_counts_as_asked_of_the_version_that_answers_others(
    sessions: sessionmaker[Session], files: ImageFiles, server_with_old_version: str
) -> None:
    server = ModelServer(server_with_old_version)
    answers = image_answers.ImageAnswers(files, server, MODEL, VersionInfo, threads=1)
    versions = []
    try:
        for is_gone in (False, True):
            id = _accept(sessions, files, gateways.jpeg(1))
            with sessions() as session:
                study = studies.find(session, id)
            (image,) = study.images
            if is_gone:
                files.remove(image.id)
            outcome = answers.ask([study], 'old', {})[image.id]
            versions.append((outcome.version, outcome.reason))
    finally:
        answers.close()
        server.close()
    assert versions == [(1, ''), (1, not_assessed.FILE_MISSING)]


@pytest.mark.slow
def test_large_studies_are_sent_in_parts(
    sessions: sessionmaker[Session],
    files: ImageFiles,
    fragile_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_answers, '_MAX_BATCH_BYTES', 3 * len(gateways.jpeg()))
    sent = []
    predict = ModelServer.predict

    def count(self, model, signature, inputs, **options):
        sent.append(len(next(iter(inputs.values()))))
        return predict(self, model, signature, inputs, **options)

    monkeypatch.setattr(ModelServer, 'predict', count)
    id = _accept(sessions, files, *[gateways.jpeg()] * 40)
    scorer = _scorer(sessions, files, fragile_server)
    try:
        _wait(lambda: _state(sessions, id) == 'scored')
    finally:
        scorer.close()
    assert sum(sent) == 40 and max(sent) <= 3


@pytest.mark.slow
def test_several_gateways_answer_each_study_once(
    sessions: sessionmaker[Session], files: ImageFiles, fragile_server: str
) -> None:
    ids = [_accept(sessions, files, gateways.jpeg(n % 4 + 1)) for n in range(40)]
    recorded: list[str] = []
    scorers = [
        _scorer(sessions, files, fragile_server, when_recorded=recorded.extend) for _ in range(3)
    ]
    try:
        _wait(lambda: all(_state(sessions, id) == 'scored' for id in ids))
    finally:
        for scorer in scorers:
            scorer.close()
    assert sorted(recorded) == sorted(ids)
    with sessions() as session:
        answers = [e.subject for e in audit.entries(session) if e.action == 'answer']
        assert audit.verify(session)[2] == []
    assert sorted(answers) == sorted(ids)


def test_housekeeping_goes_on_while_the_model_server_is_down(
    sessions: sessionmaker[Session], files: ImageFiles
) -> None:
    id = _accept(sessions, files, gateways.jpeg())
    called = threading.Event()
    scorer = _scorer(sessions, files, gateways.NO_MODEL_SERVER, when_idle=called.set)
    try:
        _wait(lambda: bool(scorer.problem))
        called.clear()
        assert called.wait(30)
        assert scorer.problem and _state(sessions, id) == PENDING
    finally:
        scorer.close()


def test_a_database_that_fails_is_named_in_one_line(
    sessions: sessionmaker[Session], files: ImageFiles
) -> None:
    with sessions() as session, session.begin():
        session.execute(text('ALTER TABLE study RENAME TO gone'))
    scorer = _scorer(sessions, files, gateways.NO_MODEL_SERVER)
    try:
        _wait(lambda: scorer.problem)
    finally:
        scorer.close()
    assert scorer.problem.startswith('database: ') and 'study' in scorer.problem
    assert '\n' not in scorer.problem and 'SELECT' not in scorer.problem


def _age(sessions: sessionmaker[Session], id: str, days: float) -> None:
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=days)
    with sessions() as session, session.begin():
        session.execute(update(Study).where(Study.id == id).values(arrived_at=then))


def _answer(sessions: sessionmaker[Session], id: str) -> None:
    with sessions() as session, session.begin():
        study = studies.find(session, id)
        assert study is not None
        outcomes = [studies.Outcome(1, 0.5, True) for _ in study.images]
        studies.record_answers(session, [(study, outcomes)])


def test_only_files_older_than_the_retention_are_deleted(
    sessions: sessionmaker[Session], files: ImageFiles, tmp_path: Path
) -> None:
    old, young, waiting = (_accept(sessions, files, b'1', b'2') for _ in range(3))
    for id, days in ((old, 31), (young, 29), (waiting, 31)):
        _age(sessions, id, days)
    for id in (old, young):
        _answer(sessions, id)
    assert Housekeeping(sessions, files, tmp_path, 0).delete_expired() == 0
    housekeeping = Housekeeping(sessions, files, tmp_path, 30)
    assert (housekeeping.delete_expired(), housekeeping.delete_expired()) == (2, 0)
    with sessions() as session:
        images = list(session.scalars(select(Image)))
        deleted = {image.id for image in images if image.deleted_at is not None}
        study = studies.find(session, old)
        assert study is not None
        assert deleted == {image.id for image in study.images}
        # The answers stay.
        assert study.state == 'scored' and all(image.answers for image in study.images)
        (entry,) = (e for e in audit.entries(session) if e.action == 'images deleted')
        assert audit.verify(session)[2] == []
    assert entry.subject == old and set(json.loads(entry.details)['images']) == deleted
    assert set(files.written_before(time.time() + 1)) == {image.id for image in images} - deleted


def test_leftovers_of_killed_uploads_are_removed_and_uploads_under_way_are_not(
    sessions: sessionmaker[Session], files: ImageFiles, tmp_path: Path
) -> None:
    id = _accept(sessions, files, b'1')
    orphan, under_way = studies.new_id(), studies.new_id()
    for name in (orphan, under_way):
        files.write(name, b'x')
        (files.folder / name[:2] / f'{name}.new').write_bytes(b'half')
    long_ago = time.time() - 2 * 3600
    for path in files.folder.rglob('*'):
        if path.is_file() and not path.name.startswith(under_way):
            os.utime(path, (long_ago, long_ago))
    assert Housekeeping(sessions, files, tmp_path).remove_orphans() == 2
    with sessions() as session:
        study = studies.find(session, id)
        assert study is not None
        stored = study.images[0].id
    names = {path.name for path in files.folder.rglob('*') if path.is_file()}
    assert names == {stored, under_way, f'{under_way}.new'}


def _entry(after: int | None, why: str = '') -> journal.Entry:
    return journal.Entry('2026-01-02T03:04:05+00:00', 'ann', 'promote', 'stable', 1, after, why)


def test_releases_are_copied_into_the_audit_log_once(
    sessions: sessionmaker[Session], files: ImageFiles, tmp_path: Path
) -> None:
    housekeeping = Housekeeping(sessions, files, tmp_path)
    housekeeping.run()
    for entry in (_entry(2), _entry(2), _entry(None)):
        journal.append(tmp_path, entry)
    for _ in range(3):
        housekeeping.run()
    journal.append(tmp_path, _entry(3, 'better'))
    housekeeping.run()
    # Another gateway, or the same after a restart.
    Housekeeping(sessions, files, tmp_path).run()
    with sessions() as session:
        entries = list(audit.entries(session))
        assert audit.verify(session)[2] == []
    assert [(e.actor, e.action, e.subject) for e in entries] == [
        ('ann', 'release', version) for version in ('2', '2', '1', '3')
    ]
    assert json.loads(entries[3].details)['release']['why'] == 'better'


def test_several_gateways_copy_a_release_once(
    sessions: sessionmaker[Session], files: ImageFiles, tmp_path: Path
) -> None:
    for version in range(2, 8):
        journal.append(tmp_path, _entry(version))
    threads = [
        threading.Thread(target=Housekeeping(sessions, files, tmp_path).copy_releases)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sessions() as session:
        assert [entry.subject for entry in audit.entries(session)] == list('234567')


def test_a_damaged_record_is_reported_once(
    sessions: sessionmaker[Session],
    files: ImageFiles,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / journal.NAME).write_text('{"at": 1}\n')
    housekeeping = Housekeeping(sessions, files, tmp_path)
    for _ in range(3):
        housekeeping.run()
    assert caplog.text.count('line 1: not an entry of the record') == 1
