"""A damaged served version is repaired in place. Without repair it stops every push."""

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


_DAMAGE = {
    'a byte flipped': lambda version: flip_a_byte(version / 'variables' / 'variables.data'),
    'truncated': lambda version: os.truncate(version / 'saved_model.pb', 2),
    'saved_model.pb missing': lambda version: (version / 'saved_model.pb').unlink(),
    'a folder missing': lambda version: shutil.rmtree(version / 'variables'),
    'manifest missing': lambda version: (version / 'manifest.json').unlink(),
    'manifest truncated': lambda version: os.truncate(version / 'manifest.json', 30),
}
_MANIFEST_DAMAGE = [name for name in _DAMAGE if name.startswith('manifest')]


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize('damage', [name for name in _DAMAGE if name not in _MANIFEST_DAMAGE])
def test_push_of_the_same_model_repairs_a_damaged_version_in_place(tmp_path, caplog, damage):
    saved = model(tmp_path / 'model')
    first = publish(saved, tmp_path / 'target')
    _DAMAGE[damage](Path(first.path))
    caplog.set_level(logging.WARNING)
    assert publish(saved, tmp_path / 'target', expected_newest='') == push.Pushed(
        first.version, first.path, already_served=True
    )
    assert target.verify(first.path) == []
    assert _entries(tmp_path / 'target') == {first.version}
    assert (
        f'{first.path} differed from what was pushed' in caplog.text
        and 'It is repaired.' in caplog.text
    )


@pytest.mark.parametrize('damage', _DAMAGE)
def test_damaged_version_is_restored_from_an_intact_copy(tmp_path, caplog, damage):
    publish(model(tmp_path / 'other', 'other'), tmp_path / 'target')
    first = publish(model(tmp_path / 'model'), tmp_path / 'target')
    intact_copy, damaged_copy = tmp_path / 'intact', tmp_path / 'damaged'
    for copy in (intact_copy, damaged_copy):
        shutil.copytree(first.path, copy)
    flip_a_byte(damaged_copy / 'saved_model.pb')
    before = target.read_manifest(first.path)
    Path(first.path, 'mine').write_text('not written by the pipeline')
    _DAMAGE[damage](Path(first.path))
    push.restore(
        str(tmp_path / 'target'), [str(tmp_path / 'empty'), str(damaged_copy), str(intact_copy)]
    )
    assert target.verify(first.path) == ['mine is extra'], 'a file of the user stays'
    assert target.read_manifest(first.path) == before
    assert 'It is repaired.' in caplog.text
    assert not [name for name in _entries(tmp_path / 'target') if not name.isdigit()]


def test_restore_changes_no_intact_version_and_uses_no_other_model(tmp_path):
    first = publish(model(tmp_path / 'model'), tmp_path / 'target')
    later = publish(model(tmp_path / 'later', 'later'), tmp_path / 'target')
    before = Path(later.path, 'manifest.json').stat().st_mtime_ns
    push.restore(str(tmp_path / 'target'), [first.path, later.path])
    assert Path(later.path, 'manifest.json').stat().st_mtime_ns == before
    Path(later.path, 'variables', 'variables.data').write_text('damaged')
    push.restore(str(tmp_path / 'target'), [first.path, later.path])
    assert Path(later.path, 'variables', 'variables.data').read_text() == 'damaged'


def test_older_versions_are_also_checked_and_restored(tmp_path, caplog):
    """TF Serving may serve an older version under a label."""
    first = publish(model(tmp_path / 'model'), tmp_path / 'target')
    publish(model(tmp_path / 'later', 'later'), tmp_path / 'target')
    shutil.copytree(first.path, tmp_path / 'copy')
    os.truncate(Path(first.path, 'saved_model.pb'), 2)
    push.restore(str(tmp_path / 'target'), [])
    assert (
        f'{first.path} differs from what was pushed (saved_model.pb has 2 bytes, expected 5)'
        in caplog.text
    )
    push.restore(str(tmp_path / 'target'), [str(tmp_path / 'copy')])
    assert target.verify(first.path) == []


def test_push_is_refused_if_the_newest_version_has_no_valid_manifest(tmp_path):
    first = publish(model(tmp_path / 'model'), tmp_path / 'target')
    for damage in _MANIFEST_DAMAGE:
        _DAMAGE[damage](Path(first.path))
        with pytest.raises(
            push.PushError,
            match=(
                rf'the newest version {first.version} .*manifest.*move {first.path} out of the '
                r'target'
            ),
        ):
            publish(model(tmp_path / 'b', 'b'), tmp_path / 'target', expected_newest=first.version)
        shutil.rmtree(first.path)
        first = publish(model(tmp_path / 'model'), tmp_path / 'target')
