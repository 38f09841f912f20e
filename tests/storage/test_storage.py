"""Storage: the same results on a local folder and on TensorFlow's in-memory file system."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import storage


@pytest.fixture(params=['local', 'remote'])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An existing folder, on the disk or under ram://, which stands for an object store.

    Unlike an object store, ram:// appends when an existing file is written again.
    """
    path = str(tmp_path / 'root') if request.param == 'local' else f'ram://{tmp_path.name}/root'
    storage.make_dirs(path)
    return path


def write_tree(folder: str, *names: str) -> None:
    """Writes files that contain their own names."""
    for name in names:
        path = storage.join(folder, name)
        storage.make_dirs(path.rsplit('/', 1)[0])
        storage.write_text(path, name)


@pytest.mark.parametrize(
    ('path', 'expected'),
    [('/data/runs', False), ('runs', False), ('gs://bucket/runs', True), ('s3://bucket', True)],
)
def test_a_uri_is_remote(path: str, expected: bool) -> None:
    assert storage.is_remote(path) is expected


@pytest.mark.parametrize(
    ('folder', 'path', 'expected'),
    [
        ('/data', 'a.csv', '/data/a.csv'),
        ('/data', '/other/a.csv', '/other/a.csv'),
        ('/data', 'gs://bucket/a.csv', 'gs://bucket/a.csv'),
        ('gs://bucket', 'a.csv', 'gs://bucket/a.csv'),
    ],
)
def test_resolve_joins_relative_paths_only(folder: str, path: str, expected: str) -> None:
    assert storage.resolve(folder, path) == expected


def test_text_and_bytes_survive_a_round_trip(folder: str) -> None:
    path = storage.join(folder, 'a.txt')
    storage.write_text(path, 'Röntgen\n')
    assert storage.read_text(path) == 'Röntgen\n'
    assert storage.read_bytes(path) == 'Röntgen\n'.encode()
    binary = storage.join(folder, 'a.bin')
    storage.write_bytes(binary, b'\x00\xff')
    assert storage.read_bytes(binary) == b'\x00\xff'
    assert b''.join(storage.chunks(binary)) == b'\x00\xff'


def test_files_and_folders_are_told_apart(folder: str) -> None:
    write_tree(folder, 'a/b.txt')
    for path, is_file, is_dir in (('a', False, True), ('a/b.txt', True, False)):
        full_path = storage.join(folder, path)
        assert storage.exists(full_path)
        assert (storage.is_file(full_path), storage.is_dir(full_path)) == (is_file, is_dir)
    missing = storage.join(folder, 'missing')
    assert not (storage.exists(missing) or storage.is_file(missing) or storage.is_dir(missing))


def test_stat_has_the_size(folder: str) -> None:
    path = storage.join(folder, 'a')
    storage.write_bytes(path, bytes(1234))
    assert storage.stat(path).size == 1234


def test_a_local_stat_has_the_time_in_nanoseconds(tmp_path: Path) -> None:
    path = tmp_path / 'a'
    path.write_bytes(b'')
    os.utime(path, ns=(1, 1_700_000_000_000_000_001))
    assert storage.stat(str(path)) == storage.FileStatus(0, 1_700_000_000_000_000_001)


def test_listings_are_sorted(folder: str) -> None:
    write_tree(folder, 'b/d.txt', 'b/c/e.txt', 'a.txt')
    assert storage.names(folder) == ['a.txt', 'b']
    assert list(storage.files(folder)) == ['a.txt', 'b/c/e.txt', 'b/d.txt']
    assert list(storage.files(folder + '/')) == ['a.txt', 'b/c/e.txt', 'b/d.txt']
    assert storage.glob(storage.join(folder, 'b', '*.txt')) == [storage.join(folder, 'b', 'd.txt')]
    assert storage.names(storage.join(folder, 'missing')) == []


def test_a_stream_seeks(folder: str) -> None:
    path = storage.join(folder, 'a')
    storage.write_bytes(path, bytes(range(200)))
    with storage.open_binary(path) as stream:
        assert stream.read(2) == b'\x00\x01'
        stream.seek(100)
        assert stream.read(3) == bytes([100, 101, 102])
        assert stream.tell() == 103
        stream.seek(-1, os.SEEK_END)
        assert stream.read() == bytes([199])


def test_a_missing_file_is_an_os_error(folder: str) -> None:
    missing = storage.join(folder, 'missing')
    for read in (storage.read_bytes, storage.stat, storage.remove):
        with pytest.raises(OSError):
            read(missing)


def test_replace_text_leaves_no_temporary_file(folder: str) -> None:
    path = storage.join(folder, 'a.json')
    storage.replace_text(path, 'new', f'{path}.part')
    assert storage.read_text(path) == 'new'
    assert storage.names(folder) == ['a.json']


def test_replace_text_replaces_a_local_file(tmp_path: Path) -> None:
    path = tmp_path / 'a.json'
    path.write_text('a longer old text')
    storage.replace_text(str(path), 'new', f'{path}.part', mode=0o640)
    assert path.read_text() == 'new'
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_replace_text_that_fails_keeps_the_old_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, part = tmp_path / 'a.json', tmp_path / 'a.json.part'
    path.write_text('old')

    def fail(*_: object) -> None:
        raise OSError('the disk is full')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='the disk is full'):
        storage.replace_text(str(path), 'new', str(part))
    assert path.read_text() == 'old'
    assert not part.exists()


def test_copy_and_move_make_the_folder(folder: str) -> None:
    write_tree(folder, 'a.txt')
    source, copy, moved = (storage.join(folder, name) for name in ('a.txt', 'b/c.txt', 'd/e.txt'))
    storage.copy(source, copy)
    storage.move(copy, moved)
    assert list(storage.files(folder)) == ['a.txt', 'd/e.txt']
    assert storage.read_text(moved) == 'a.txt'


def test_copy_and_move_within_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage.write_text('a.txt', 'a')
    storage.copy('a.txt', 'b.txt')
    storage.move('b.txt', 'c.txt')
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ['a.txt', 'c.txt']


def test_move_overwrites_only_on_request(folder: str) -> None:
    write_tree(folder, 'a', 'b')
    source, destination = storage.join(folder, 'a'), storage.join(folder, 'b')
    with pytest.raises(OSError):
        storage.move(source, destination)
    assert storage.read_text(destination) == 'b'
    storage.move(source, destination, overwrite=True)
    assert storage.read_text(destination) == 'a'
    assert storage.names(folder) == ['b']


def test_remove_and_remove_tree(folder: str) -> None:
    write_tree(folder, 'a/b.txt', 'c.txt')
    storage.remove(storage.join(folder, 'c.txt'))
    storage.remove_tree(storage.join(folder, 'a'))
    storage.remove_tree(storage.join(folder, 'missing'))
    assert storage.names(folder) == []


def test_modes_apply_to_new_local_folders_and_keep_the_higher_bits(tmp_path: Path) -> None:
    storage.make_dirs(str(tmp_path / 'a' / 'b'), 0o750)
    for folder in (tmp_path / 'a', tmp_path / 'a' / 'b'):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o777 == 0o750
    (tmp_path / 'a').chmod(0o2700)
    storage.set_mode(str(tmp_path / 'a'), 0o755)
    assert stat.S_IMODE((tmp_path / 'a').stat().st_mode) == 0o2755


def test_local_paths_do_not_import_tensorflow(tmp_path: Path) -> None:
    code = (
        'import sys, storage\n'
        'storage.write_text(sys.argv[1], "a")\n'
        'storage.sync_dirs(sys.argv[2])\n'
        'assert storage.read_text(sys.argv[1]) == "a"\n'
        'assert "tensorflow" not in sys.modules\n'
    )
    arguments = [sys.executable, '-c', code, str(tmp_path / 'a'), str(tmp_path)]
    subprocess.run(arguments, check=True)
