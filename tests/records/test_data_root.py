"""The files of a data root, their spans, and a fingerprint that changes with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import storage
from records.data_root import DataRootError, check_unchanged, find_files, fingerprint, scan


def _write(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def _names(root: Path, **options) -> list[str]:
    return [file.name for file in find_files(str(root), **options)]


def test_all_spellings_at_any_depth_in_a_fixed_order(tmp_path: Path) -> None:
    names = [
        'B.TFREC',
        'a.tfrec',
        'data/000-1.tfrec',
        'data/001-1.tfrec.gz',
        'data/001-20.tfrecords',
        'data/deep/er/x.tfrecord',
    ]
    names += ['films.tfrecord-00000-of-00002', 'z.tfrecord.gz', 'z.tfrecords.GZ']
    _write(
        tmp_path,
        *reversed(names),
        'data/readme.txt',
        'data/table.csv.gz',
        'tfrec',
        'data/x.tfrec.partial',
    )
    assert _names(tmp_path) == names


@pytest.mark.parametrize(
    'hidden', ['.x.tfrec', '.trash/x.tfrec', 'data/.partial/x.tfrec', '.x/.y.tfrec']
)
def test_hidden_files_are_not_read(hidden: str, tmp_path: Path) -> None:
    assert _names(_write(tmp_path, hidden, 'a.tfrec')) == ['a.tfrec']


def test_own_patterns(tmp_path: Path) -> None:
    _write(tmp_path, 'train/a.rec', 'train/b.tfrec', 'test/a.rec')
    assert _names(tmp_path, patterns=('train/*.rec',)) == ['train/a.rec']


def test_a_folder_may_be_linked(tmp_path: Path) -> None:
    _write(tmp_path / 'elsewhere', 'a.tfrec')
    (tmp_path / 'root').mkdir()
    (tmp_path / 'root' / 'data').symlink_to(tmp_path / 'elsewhere')
    assert _names(tmp_path / 'root') == ['data/a.tfrec']


def test_ignored_files_are_counted_by_type(tmp_path: Path) -> None:
    _write(
        tmp_path,
        'a.tfrec',
        *(f'dicom/{number}.DCM' for number in range(20)),
        'notes.txt',
        'dicom/1.2.840.113619',
        'LICENSE',
    )
    _write(
        tmp_path,
        '.git/config',
        '.git/HEAD',
        '.x',
        'more.csv.gz',
        'metadata/Data_Entry_2017.csv',
        'preprocessed_data.csv',
    )
    (tmp_path / 'b.tfrec').symlink_to(tmp_path / 'a.tfrec')
    os.mkfifo(tmp_path / 'pipe')
    counts = scan(str(tmp_path)).ignored({'metadata/Data_Entry_2017.csv'})
    assert counts == {
        '.dcm': 20,
        'without suffix': 2,
        '.txt': 1,
        '.csv.gz': 1,
        'hidden': 2,
        'links to other files here': 1,
        'not regular files': 1,
    }


@pytest.mark.parametrize(
    'link',
    [
        pytest.param(lambda root: (root / 'data/up').symlink_to('..'), id='to the folder above'),
        pytest.param(lambda root: (root / 'data/up').symlink_to('../..'), id='above the data root'),
        pytest.param(lambda root: (root / 'data/self').symlink_to('.'), id='to its own folder'),
        pytest.param(
            lambda root: (root / 'again').symlink_to('data'), id='to a folder that is listed'
        ),
        pytest.param(
            lambda root: (root / '0-1.tfrec').symlink_to('data/a.tfrec'),
            id='to a file that is listed',
        ),
        pytest.param(
            lambda root: os.link(root / 'data/a.tfrec', root / 'data/b.tfrec'), id='hard link'
        ),
    ],
)
def test_each_real_file_is_listed_once(link: Callable[[Path], None], tmp_path: Path) -> None:
    root = _write(tmp_path / 'here' / 'root', 'data/a.tfrec')
    link(root)
    assert _names(root) == ['data/a.tfrec']


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        pytest.param(_fifo, 'a FIFO', id='FIFO'),
        pytest.param(
            lambda path: path.symlink_to('gone'),
            'a link to a missing file',
            id='link to nothing',
        ),
        pytest.param(
            lambda path: path.symlink_to(path.name), 'a link to itself', id='link to itself'
        ),
        pytest.param(lambda path: path.symlink_to('/dev/zero'), 'a device', id='device'),
    ],
)
def test_a_record_file_that_is_not_a_regular_file(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(_write(tmp_path, 'a.tfrec') / 'b.tfrec')
    with pytest.raises(DataRootError, match=rf'b\.tfrec: {message}, expected a regular file'):
        find_files(str(tmp_path))


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b'gr\xfc\xdf.tfrec')).write_bytes(b'')
    (file,) = find_files(str(tmp_path))
    assert len(fingerprint(str(tmp_path), [file])) >= 64
    root = tmp_path / os.fsdecode(b'caf\xe9')
    root.mkdir()
    with pytest.raises(DataRootError, match=r'caf\\xe9: the path is not UTF-8'):
        find_files(str(root))


def test_a_file_by_name_size_and_time(tmp_path: Path) -> None:
    path = _write(tmp_path, 'data/a.tfrec') / 'data/a.tfrec'
    (file,) = find_files(str(tmp_path))
    assert (file.size, file.modified_ns, file.span) == (
        path.stat().st_size,
        path.stat().st_mtime_ns,
        0,
    )


@pytest.mark.parametrize(
    ('spans', 'expected'),
    [
        ('all', ['a.tfrec', 'data/span-2/b.tfrec', 'span-01/c.tfrec', 'span-10/d.tfrec']),
        ('latest', ['span-10/d.tfrec']),
        ([0], ['a.tfrec']),
        ([1, 2], ['data/span-2/b.tfrec', 'span-01/c.tfrec']),
    ],
    ids=str,
)
def test_spans(spans, expected: list[str], tmp_path: Path) -> None:
    _write(tmp_path, 'a.tfrec', 'span-01/c.tfrec', 'data/span-2/b.tfrec', 'span-10/d.tfrec')
    assert _names(tmp_path, spans=spans) == expected


@pytest.mark.parametrize(
    ('make', 'options', 'message'),
    [
        pytest.param(lambda root: None, {}, r'not a directory\. .*--data-root', id='missing'),
        pytest.param(lambda root: root.write_text(''), {}, 'not a directory', id='a file'),
        pytest.param(
            lambda root: root.mkdir(),
            {},
            r'no file matches .*NNN-COUNT\.tfrec.*cxr-triage synth',
            id='empty',
        ),
        pytest.param(
            lambda root: _write(root, 'a.tfrec'),
            {'spans': [4]},
            r'no files for span \[4\]; the data root has spans \[0\]',
            id='span',
        ),
        pytest.param(
            lambda root: _write(root, 'a.tfrec'),
            {'spans': []},
            r'the list of spans is empty; the data root has spans \[0\]',
            id='no spans',
        ),
    ],
)
def test_a_root_that_cannot_be_used(
    make: Callable[[Path], object], options: dict, message: str, tmp_path: Path
) -> None:
    make(tmp_path / 'root')
    with pytest.raises(DataRootError, match=message) as caught:
        find_files(str(tmp_path / 'root'), **options)
    assert str(tmp_path / 'root') in str(caught.value)


def _later(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000))


def _resized(path: Path) -> None:
    before = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes() + b'+')
    os.utime(path, ns=(before, before))


@pytest.mark.parametrize(
    ('change', 'changes'),
    [
        pytest.param(lambda root: None, False, id='nothing'),
        pytest.param(lambda root: _write(root, 'data/readme.txt'), False, id='another file beside'),
        pytest.param(lambda root: _write(root, 'data/002-1.tfrec'), True, id='new file'),
        pytest.param(lambda root: (root / 'data/001-1.tfrec').unlink(), True, id='file gone'),
        pytest.param(
            lambda root: (root / 'data/001-1.tfrec').rename(root / 'data/003-1.tfrec'),
            True,
            id='renamed',
        ),
        pytest.param(lambda root: _later(root / 'data/001-1.tfrec'), True, id='touched'),
        pytest.param(lambda root: _resized(root / 'data/001-1.tfrec'), True, id='resized'),
        pytest.param(lambda root: _later(root / 'table.csv'), True, id='side file touched'),
        pytest.param(lambda root: _resized(root / 'table.csv'), True, id='side file resized'),
    ],
)
def test_fingerprint(change: Callable[[Path], object], changes: bool, tmp_path: Path) -> None:
    _write(tmp_path, 'data/000-1.tfrec', 'data/001-1.tfrec', 'table.csv')

    def current() -> str:
        return fingerprint(str(tmp_path), find_files(str(tmp_path)), (str(tmp_path / 'table.csv'),))

    before = current()
    change(tmp_path)
    assert (current() != before) is changes


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        pytest.param(
            lambda root: (root / 'data/001-1.tfrec').unlink(),
            'had 2 record files of 32 bytes then, and has 1 of 16 bytes now: data/000',
            id='gone',
        ),
        pytest.param(
            lambda root: _write(root, 'data/002-1.tfrec'),
            'then, and has 3 of 48 bytes now: .*data/002-1.tfrec',
            id='new',
        ),
        pytest.param(
            lambda root: _later(root / 'data/001-1.tfrec'), 'data/001-1.tfrec', id='touched'
        ),
        pytest.param(
            lambda root: _later(root / 'table.csv'), 'side files: .*table.csv', id='side file'
        ),
    ],
)
def test_data_that_changed_after_the_run_started_is_refused(
    change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    _write(tmp_path, 'data/000-1.tfrec', 'data/001-1.tfrec', 'table.csv')
    root, side = str(tmp_path), (str(tmp_path / 'table.csv'),)
    then = fingerprint(root, find_files(root), side)
    check_unchanged(root, find_files(root), side, then)
    change(tmp_path)
    with pytest.raises(DataRootError, match=message):
        check_unchanged(root, find_files(root), side, then)
    # Only a person knows what a name of their own stands for.
    check_unchanged(root, find_files(root), side, 'release-2')


def test_another_root_or_side_file_is_another_fingerprint(tmp_path: Path) -> None:
    _write(tmp_path, 'a.tfrec', 'table.csv')
    files = find_files(str(tmp_path))
    assert fingerprint('/x', files) != fingerprint('/y', files)
    assert fingerprint('/x', files) != fingerprint('/x', files, (str(tmp_path / 'table.csv'),))


def test_a_side_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='gone'):
        fingerprint(str(tmp_path), [], (str(tmp_path / 'gone.csv'),))


@pytest.mark.parametrize(
    ('path', 'joined'),
    [
        ('m/t.csv', '/root/m/t.csv'),
        ('/abs/t.csv', '/abs/t.csv'),
        ('gs://bucket/t.csv', 'gs://bucket/t.csv'),
    ],
)
def test_resolve(path: str, joined: str) -> None:
    assert storage.resolve('/root', path) == joined
