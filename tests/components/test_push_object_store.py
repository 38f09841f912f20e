"""Pushes to an object store: nothing renames a folder in one step there, and nothing locks."""

from __future__ import annotations

import time

import pytest

import storage
from components.pusher import push, target
from tests.support.push_targets import maker, model, publish


@pytest.fixture
def bucket(tmp_path) -> str:
    """TensorFlow's file system in memory stands for an object store: it has a scheme, no locks, and
    moves file by file.
    """
    return f'ram://{tmp_path.name}/target'


def test_object_store(tmp_path, bucket, monkeypatch):
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


def test_object_store_has_nothing_under_a_number_until_the_upload_is_checked(
    tmp_path, bucket, monkeypatch
):
    seen = []
    original = storage.copy
    monkeypatch.setattr(
        storage,
        'copy',
        lambda source, destination: (
            seen.extend(target.versions(bucket)),
            original(source, destination),
        ),
    )
    publish(model(tmp_path / 'a', 'a'), bucket)
    assert seen == []


@pytest.mark.parametrize('file', ['variables.data', 'saved_model.pb'])
@pytest.mark.parametrize('operation', ['copy', 'move'])
def test_object_store_that_fails(tmp_path, bucket, monkeypatch, operation, file):
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


def _leave_half_a_push(bucket: str, saved: str, started: float) -> None:
    """What a push leaves that is killed after it moved all but saved_model.pb into version 77."""
    files = target.digests(saved)
    manifest = maker()('77', target.model_digest(files), files)
    staging = storage.join(bucket, f'.incoming-{int(started)}-other-host-1')
    storage.copy(f'{saved}/saved_model.pb', f'{staging}/saved_model.pb')
    storage.copy(f'{saved}/variables/variables.data', f'{bucket}/77/variables/variables.data')
    for folder in (staging, f'{bucket}/77'):
        target.write_manifest(folder, manifest)


def test_object_store_after_a_killed_push(tmp_path, bucket):
    saved = model(tmp_path / 'a', 'a')
    _leave_half_a_push(bucket, saved, time.time() - 3600)
    pushed = publish(saved, bucket)
    assert storage.names(bucket) == [pushed.version] and int(pushed.version) > 77


def test_object_store_during_another_push(tmp_path, bucket):
    saved = model(tmp_path / 'a', 'a')
    _leave_half_a_push(bucket, saved, time.time() - 60)
    before = storage.names(bucket)
    with pytest.raises(
        push.PushError,
        match=(
            r'another push to ram://.* is under way since .* If it was killed, delete that '
            r'folder'
        ),
    ):
        publish(saved, bucket)
    assert storage.names(bucket) == before
