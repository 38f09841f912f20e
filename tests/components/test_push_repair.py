"""A served version that has lost or changed files: repaired in place, or in the way of every push
until it is.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from components.pusher import push, target
from tests.support.push_targets import model, publish


def _entries(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()} - {'.push.lock'}


_DAMAGES = {
    'a byte flipped': lambda version: flip_a_byte(version / 'variables' / 'variables.data'),
    'truncated': lambda version: os.truncate(version / 'saved_model.pb', 2),
    'saved_model.pb lost': lambda version: (version / 'saved_model.pb').unlink(),
    'a folder lost': lambda version: shutil.rmtree(version / 'variables'),
    'manifest lost': lambda version: (version / 'manifest.json').unlink(),
    'manifest truncated': lambda version: os.truncate(version / 'manifest.json', 30),
}
_MANIFEST_DAMAGES = [name for name in _DAMAGES if name.startswith('manifest')]


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize('fault', [name for name in _DAMAGES if name not in _MANIFEST_DAMAGES])
def test_same_model_repairs_a_damaged_version_in_place(tmp_path, caplog, fault):
    saved = model(tmp_path / 'model')
    first = publish(saved, tmp_path / 'target')
    _DAMAGES[fault](Path(first.path))
    caplog.set_level(logging.WARNING)
    assert publish(saved, tmp_path / 'target', expected_newest='') == push.Pushed(
        first.version, first.path, already_served=True
    )
    assert target.verify(first.path) == []
    assert _entries(tmp_path / 'target') == {first.version}
    assert (
        f'{first.path} was not what had been pushed' in caplog.text
        and 'It is repaired.' in caplog.text
    )


@pytest.mark.parametrize('fault', _DAMAGES)
def test_damaged_version_is_restored_from_a_copy(tmp_path, caplog, fault):
    publish(model(tmp_path / 'other', 'other'), tmp_path / 'target')
    first = publish(model(tmp_path / 'model'), tmp_path / 'target')
    rotten = tmp_path / 'rotten'
    for copy in (tmp_path / 'copy', rotten):
        shutil.copytree(first.path, copy)
    flip_a_byte(rotten / 'saved_model.pb')
    before = target.read_manifest(first.path)
    Path(first.path, 'mine').write_text('not of the pipeline')
    _DAMAGES[fault](Path(first.path))
    push.restore(
        str(tmp_path / 'target'), [str(tmp_path / 'empty'), str(rotten), str(tmp_path / 'copy')]
    )
    assert target.verify(first.path) == ['mine is extra'], 'what is not of the push is left alone'
    assert target.read_manifest(first.path) == before
    assert 'It is repaired.' in caplog.text
    assert not [name for name in _entries(tmp_path / 'target') if not name.isdigit()]


def test_restore_takes_no_other_model_and_touches_no_whole_version(tmp_path):
    first = publish(model(tmp_path / 'model'), tmp_path / 'target')
    later = publish(model(tmp_path / 'later', 'later'), tmp_path / 'target')
    before = Path(later.path, 'manifest.json').stat().st_mtime_ns
    push.restore(str(tmp_path / 'target'), [first.path, later.path])
    assert Path(later.path, 'manifest.json').stat().st_mtime_ns == before
    Path(later.path, 'variables', 'variables.data').write_text('rot')
    push.restore(str(tmp_path / 'target'), [first.path, later.path])
    assert Path(later.path, 'variables', 'variables.data').read_text() == 'rot', (
        'no intact copy, nothing done'
    )


def test_older_version_that_a_label_may_stand_for(tmp_path, caplog):
    first = publish(model(tmp_path / 'model'), tmp_path / 'target')
    publish(model(tmp_path / 'later', 'later'), tmp_path / 'target')
    shutil.copytree(first.path, tmp_path / 'copy')
    os.truncate(Path(first.path, 'saved_model.pb'), 2)
    push.restore(str(tmp_path / 'target'), [])
    assert (
        f'{first.path} is not what was pushed (saved_model.pb has 2 bytes, expected 5)'
        in caplog.text
    )
    push.restore(str(tmp_path / 'target'), [str(tmp_path / 'copy')])
    assert target.verify(first.path) == []


def test_push_beside_a_version_without_manifest_is_refused(tmp_path):
    first = publish(model(tmp_path / 'model'), tmp_path / 'target')
    for fault in _MANIFEST_DAMAGES:
        _DAMAGES[fault](Path(first.path))
        with pytest.raises(
            push.PushError,
            match=(
                rf'version {first.version} is the newest .*manifest.*move {first.path} out of the '
                r'target'
            ),
        ):
            publish(model(tmp_path / 'b', 'b'), tmp_path / 'target', expected_newest=first.version)
        shutil.rmtree(first.path)
        first = publish(model(tmp_path / 'model'), tmp_path / 'target')
