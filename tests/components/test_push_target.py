"""The push target: its versions, their manifests, and the baseline that a run plans with."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.pusher import target
from tests.support.push_targets import maker, model, publish

_ROOT = Path(__file__).resolve().parents[2]


def _entries(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()} - {'.push.lock'}


def test_pushed_version_is_complete_and_in_its_manifest(tmp_path):
    saved = model(tmp_path / 'model')
    before = int(time.time())
    pushed = publish(saved, tmp_path / 'deep' / 'target')
    assert int(pushed.version) >= before and not pushed.already_served
    (served,) = target.versions(str(tmp_path / 'deep' / 'target'))
    assert served.version == pushed.version and served.manifest is not None
    assert set(served.manifest.files) == {'saved_model.pb', 'variables/variables.data'}
    assert served.manifest.files['saved_model.pb'].size == 5
    assert target.verify(pushed.path) == []
    assert _entries(tmp_path / 'deep' / 'target') == {pushed.version}


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (
            lambda path: (path / 'variables' / 'variables.data').write_text('weighty'),
            'variables/variables.data differs: 7 bytes',
        ),
        (lambda path: (path / 'saved_model.pb').unlink(), 'saved_model.pb is missing'),
        (lambda path: (path / 'more').write_text(''), 'more is extra'),
    ],
    ids=['changed', 'missing', 'extra'],
)
def test_verify_names_the_file(tmp_path, change, text):
    pushed = publish(model(tmp_path / 'model'), tmp_path / 'target')
    change(Path(pushed.path))
    (problem,) = target.verify(pushed.path)
    assert problem.startswith(text)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (None, 'manifest.json is missing'),
        ('{', 'is not a valid manifest'),
        ('{"version": "1"}', 'model_digest'),
    ],
    ids=['missing', 'not JSON', 'incomplete'],
)
def test_unreadable_manifest_is_an_error(tmp_path, text, message):
    pushed = publish(model(tmp_path / 'model'), tmp_path / 'target')
    manifest = Path(pushed.path, target.MANIFEST)
    manifest.unlink() if text is None else manifest.write_text(text)
    with pytest.raises(target.TargetError, match=message):
        target.verify(pushed.path)


@pytest.mark.parametrize('name', ['../saved_model.pb', 'variables/../../x', '/etc/passwd'])
def test_manifest_with_a_file_outside_the_version_is_an_error(tmp_path, name):
    pushed = publish(model(tmp_path / 'model'), tmp_path / 'target')
    manifest = Path(pushed.path, target.MANIFEST)
    manifest.write_text(manifest.read_text().replace('saved_model.pb', name))
    with pytest.raises(
        target.TargetError, match=f'files .*{name}.* is not a path below the version'
    ):
        target.verify(pushed.path)


def test_only_folders_with_a_version_number_are_listed(tmp_path):
    for name in ('7', '12', '007', 'abc', '.incoming-x', '٣'):
        model(tmp_path / name)
    (tmp_path / '99').mkdir()
    (tmp_path / '5' / 'variables').mkdir(parents=True)
    assert [served.version for served in target.versions(str(tmp_path))] == ['5', '7', '12'], (
        'an empty folder is not a version'
    )
    with pytest.raises(
        target.TargetError, match=r'the newest version 12 .*manifest\.json is missing'
    ):
        target.newest(str(tmp_path))
    assert target.versions(str(tmp_path / 'nowhere')) == []
    (tmp_path / str(int(time.time()) + 1000)).mkdir()
    assert (
        int(target.next_version(str(tmp_path)))
        == max(int(path.name) for path in tmp_path.iterdir() if path.name.isdecimal()) + 1
    )


def test_importing_push_does_not_import_tensorflow():
    code = (
        'import sys, components.pusher.push; sys.exit(any(name in sys.modules for name in '
        '("tensorflow", "tfx")))'
    )
    assert subprocess.run([sys.executable, '-c', code], cwd=_ROOT, check=False).returncode == 0


_CONFIRMATION = target.Confirmation(
    candidate_key='later',
    push_nonce='again',
    baseline_version='5',
    run_id='r2',
    confirmed_at='2026-11-22T00:00:00+00:00',
)


@pytest.mark.parametrize(
    ('fields', 'key', 'model_exists', 'expected'),
    [
        (None, 'key', True, ('', 'new')),
        ({}, 'key', True, ('3', 'old')),
        ({'baseline_version': None}, 'key', True, ('', 'old')),
        ({}, 'other', True, ('5', 'new')),
        ({}, 'key', False, ('5', 'new')),
        ({'confirmed': (_CONFIRMATION,)}, 'later', True, ('5', 'again')),
        ({'confirmed': (_CONFIRMATION,)}, 'key', True, ('3', 'old')),
    ],
    ids=[
        'nothing served',
        'same candidate',
        'same candidate, first push',
        'other candidate',
        'model deleted',
        'confirmed later',
        'before the confirmation',
    ],
)
def test_plan_depends_on_the_manifest_of_the_served_version(
    tmp_path, fields, key, model_exists, expected
):
    checked_uris = []
    plan = target.plan_push(
        None if fields is None else _version_5(tmp_path, fields),
        key,
        lambda uri: checked_uris.append(uri) or model_exists,
        'new',
    )
    assert (plan.baseline_version, plan.push_nonce) == expected
    assert checked_uris == ([] if fields is None else ['/trainer/model'])


def _version_5(folder: Path, fields: dict) -> target.ServedVersion | None:
    files = target.digests(model(folder / '5'))
    manifest = maker(**{'baseline_version': '3', 'push_nonce': 'old'} | fields)(
        '5', target.model_digest(files), files
    )
    target.write_manifest(str(folder / '5'), manifest)
    return target.newest(str(folder))


def test_only_the_same_candidate_can_repair_a_damaged_version(tmp_path):
    """It is pushed again. Another candidate is refused, because its baseline would be damaged."""
    served = _version_5(tmp_path, {})
    (tmp_path / '5' / 'saved_model.pb').unlink()
    assert target.plan_push(served, 'key', lambda uri: True, 'new') == target.PushPlan('3', 'new')
    for key, model_exists in (('other', True), ('key', False)):
        with pytest.raises(
            target.TargetError,
            match=(
                r'version 5 .*saved_model\.pb is missing.*\(pipeline p, run r\).*move '
                rf'{tmp_path}/5 out'
            ),
        ):
            target.plan_push(served, key, lambda uri, exists=model_exists: exists, 'new')
