"""Pushes to an object store, which has no locks and cannot rename a folder in one step."""

from __future__ import annotations

import time

import pytest

import storage
from components.pusher import push, target
from tests.support.push_targets import maker, model, publish


@pytest.fixture
def bucket(tmp_path) -> str:
    """TensorFlow's in-memory file system. Like an object store, it moves file by file."""
    return f'ram://{tmp_path.name}/target'


def test_push_moves_saved_model_last_and_keeps_the_newest_versions(tmp_path, bucket, monkeypatch):
    moved = []
    original = storage.move

    def move(source: str, destination: str) -> None:
        moved.append(destination.rpartition('/')[2])
        original(source, destination)

    monkeypatch.setattr(storage, 'move', move)
    first = publish(model(tmp_path / 'a', 'a'), bucket, keep_versions=2)
    assert moved == ['variables.data', 'saved_model.pb']
    assert target.verify(first.path) == []
    assert publish(model(tmp_path / 'a', 'a'), bucket).already_served
    later = [
        publish(model(tmp_path / name, name), bucket, keep_versions=2).version for name in 'bc'
    ]
    assert [served.version for served in target.versions(bucket)] == later
    assert storage.names(bucket) == later


def test_there_is_no_version_during_the_upload(tmp_path, bucket, monkeypatch):
    versions = []
    original = storage.copy
    monkeypatch.setattr(
        storage,
        'copy',
        lambda source, destination: (
            versions.extend(target.versions(bucket)),
            original(source, destination),
        ),
    )
    publish(model(tmp_path / 'a', 'a'), bucket)
    assert versions == []


@pytest.mark.parametrize('file', ['variables.data', 'saved_model.pb'])
@pytest.mark.parametrize('operation', ['copy', 'move'])
def test_failed_push_leaves_nothing(tmp_path, bucket, monkeypatch, operation, file):
    first = publish(model(tmp_path / 'a', 'a'), bucket)
    original = getattr(storage, operation)

    def fail(source: str, destination: str) -> None:
        if destination.endswith(file):
            raise OSError(28, 'No space left on device')
        original(source, destination)

    monkeypatch.setattr(storage, operation, fail)
    with pytest.raises(push.PushError, match='No space left'):
        publish(model(tmp_path / 'd', 'd'), bucket)
    assert storage.names(bucket) == [first.version]


def _write_half_a_push(bucket: str, saved: str, started: float) -> None:
    """Writes version 77 as a push that is killed before it moves saved_model.pb."""
    files = target.digests(saved)
    manifest = maker()('77', target.model_digest(files), files)
    staging = storage.join(bucket, f'.incoming-{int(started)}-other-host-1')
    storage.copy(f'{saved}/saved_model.pb', f'{staging}/saved_model.pb')
    storage.copy(f'{saved}/variables/variables.data', f'{bucket}/77/variables/variables.data')
    for folder in (staging, f'{bucket}/77'):
        target.write_manifest(folder, manifest)


def test_push_removes_what_a_killed_push_left(tmp_path, bucket):
    saved = model(tmp_path / 'a', 'a')
    _write_half_a_push(bucket, saved, time.time() - 3600)
    pushed = publish(saved, bucket)
    assert storage.names(bucket) == [pushed.version] and int(pushed.version) > 77


def test_push_is_refused_during_another_push(tmp_path, bucket):
    saved = model(tmp_path / 'a', 'a')
    _write_half_a_push(bucket, saved, time.time() - 60)
    before = storage.names(bucket)
    with pytest.raises(
        push.PushError,
        match=(
            r'another push to ram://.* has been running since .* If it was killed, delete that '
            r'folder'
        ),
    ):
        publish(saved, bucket)
    assert storage.names(bucket) == before
