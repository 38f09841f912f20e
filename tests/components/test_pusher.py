"""Pusher and the push target: whole versions or none, from two blessings, with a record that can be
checked.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import pytest
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import standard_artifacts
from tfx.utils import path_utils

import storage
from components.pusher import blessed, push, target
from components.pusher.component import Pusher
from components.pusher.executor import Executor
from components.pusher.parameters import PushParameters
from tests.support.push_targets import maker, model, publish, publish_many

_ROOT = Path(__file__).resolve().parents[2]


def _entries(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()} - {'.push.lock'}


# --- pushing
# --------------------------------------------------------------------------------------------------


def test_versions_of_one_second_do_not_collide(tmp_path):
    pushed = [
        publish(model(tmp_path / f'model{number}', str(number)), tmp_path / 'target').version
        for number in range(3)
    ]
    assert [int(version) for version in pushed] == sorted({int(version) for version in pushed})


def test_same_model_is_not_pushed_again_but_noted(tmp_path):
    saved = model(tmp_path / 'model')
    first = publish(saved, tmp_path / 'target')
    options = {
        'candidate_key': 'key2',
        'push_nonce': 'nonce2',
        'baseline_version': first.version,
        'run_id': 'r2',
    }
    again = push.publish(
        saved, str(tmp_path / 'target'), maker(**options), expected_newest=first.version
    )
    assert again == push.Pushed(first.version, first.path, already_served=True)
    assert _entries(tmp_path / 'target') == {first.version}
    manifest = target.read_manifest(first.path)
    assert (manifest.candidate_key, manifest.run_id) == ('key', 'r')
    (served,) = target.versions(str(tmp_path / 'target'))
    assert target.plan_push(served, 'key2', lambda uri: True, 'new') == target.PushPlan(
        first.version, 'nonce2'
    )
    assert target.verify(first.path) == []


def test_same_candidate_trained_again_leaves_what_is_served(tmp_path, caplog):
    """Artifacts of the run that pushed are lost: the next run trains again, and still repeats the
    decisions of that run.
    """
    first = publish(model(tmp_path / 'a', 'a'), tmp_path / 'target', expected_newest='')
    again = publish(model(tmp_path / 'b', 'b'), tmp_path / 'target', expected_newest='')
    assert again == push.Pushed(first.version, first.path, already_served=True)
    assert _entries(tmp_path / 'target') == {first.version}
    assert (
        f'Version {first.version} was pushed for the same data, code and configuration. It stays'
        in caplog.text
    )
    Path(first.path, 'saved_model.pb').unlink()
    pushed = publish(model(tmp_path / 'b', 'b'), tmp_path / 'target', expected_newest='')
    assert not pushed.already_served and int(pushed.version) > int(first.version)


def test_push_is_refused_when_another_came_first(tmp_path):
    first = publish(model(tmp_path / 'a', 'a'), tmp_path / 'target', expected_newest='')
    other, directory = model(tmp_path / 'b', 'b'), str(tmp_path / 'target')
    with pytest.raises(
        push.PushError,
        match=(
            rf'serves version {first.version}, pushed while .* compared with no version: run '
            r'again'
        ),
    ):
        push.publish(other, directory, maker(candidate_key='other'), expected_newest='')
    pushed = push.publish(
        other, directory, maker(candidate_key='other'), expected_newest=first.version
    )
    assert int(pushed.version) > int(first.version)


def test_old_versions_go_and_foreign_ones_stay(tmp_path):
    publish(model(tmp_path / 'model'), tmp_path / 'target')
    model(tmp_path / 'target' / '7')
    pushed = [
        publish(
            model(tmp_path / f'm{number}', str(number)), tmp_path / 'target', keep_versions=2
        ).version
        for number in range(4)
    ]
    assert _entries(tmp_path / 'target') == {'7', *pushed[2:]}


def _watch(directory: str, stop, bad) -> None:
    """Looks at the target as TF Serving does, all the time, and notes a version that is not
    whole.
    """
    seen = 0
    while not stop.is_set():
        for name in storage.names(directory):
            if name.isdigit():
                seen += 1
                try:
                    problems = target.verify(os.path.join(directory, name))
                except target.TargetError as error:
                    problems = [str(error)]
                if problems and os.path.isdir(os.path.join(directory, name)):
                    bad.append(f'{name}: {problems}')
    bad.append(seen)


def test_reader_never_sees_half_a_version(tmp_path):
    directory = tmp_path / 'target'
    directory.mkdir()
    stop, bad = threading.Event(), []
    reader = threading.Thread(target=_watch, args=(str(directory), stop, bad))
    reader.start()
    for number in range(6):
        publish(model(tmp_path / f'm{number}', str(number), size=3_000_000), directory)
    stop.set()
    reader.join()
    assert bad[-1] > 0, 'the reader saw versions'
    assert bad[:-1] == []


def test_two_pushers_at_once(tmp_path):
    context = multiprocessing.get_context('spawn')
    results = context.Queue()
    models = [
        [model(tmp_path / f'{worker}{number}', f'{worker}{number}') for number in range(3)]
        for worker in 'ab'
    ]
    workers = [
        context.Process(target=publish_many, args=(str(tmp_path / 'target'), own, results))
        for own in models
    ]
    for worker in workers:
        worker.start()
    found = [version for _ in workers for version in results.get(timeout=120)]
    for worker in workers:
        worker.join()
    assert len(set(found)) == 6
    assert [served.version for served in target.versions(str(tmp_path / 'target'))] == sorted(
        found, key=int
    )
    assert all(target.verify(str(tmp_path / 'target' / version)) == [] for version in found)


def test_lock_of_another_push_is_named(tmp_path):
    with (
        filelock.FileLock(tmp_path / '.push.lock'),
        pytest.raises(push.PushError, match=r'\.push\.lock is held by another push'),
    ):
        publish(model(tmp_path / 'model'), tmp_path, lock_timeout_s=0.2)


@pytest.mark.parametrize('umask', [0o077, 0o000], ids=oct)
def test_modes_do_not_depend_on_the_umask(tmp_path, umask):
    saved = model(tmp_path / 'model')
    shared = tmp_path / 'shared'
    shared.mkdir(mode=0o700)
    before = os.umask(umask)
    try:
        first = publish(saved, shared / 'deep' / 'target')
        push.publish(saved, str(shared / 'deep' / 'target'), maker(push_nonce='again'))
        Path(first.path, 'variables', 'variables.data').unlink()
        publish(saved, shared / 'deep' / 'target')
    finally:
        os.umask(before)
    assert target.read_manifest(first.path).confirmed, 'the manifest was written anew'
    modes = {
        path.relative_to(shared).as_posix(): path.stat().st_mode & 0o777
        for path in (shared / 'deep').rglob('*')
    }
    version = f'deep/target/{first.version}'
    assert modes == {
        'deep/target': 0o755,
        'deep/target/.push.lock': 0o644,
        version: 0o755,
        f'{version}/manifest.json': 0o644,
        f'{version}/saved_model.pb': 0o644,
        f'{version}/variables': 0o755,
        f'{version}/variables/variables.data': 0o644,
    }
    assert shared.stat().st_mode & 0o777 == 0o700, 'a folder that was there keeps its mode'


_KILLED = """
import os, signal, sys
import storage
from components.pusher import push
copied = []
def copy(source, destination, copy=storage.copy):
    copy(source, destination)
    copied.append(destination)
    os.kill(os.getpid(), signal.SIGKILL)
storage.copy = copy
from tests.support import push_targets
push_targets.publish(sys.argv[1], sys.argv[2])
"""


def test_killed_push_leaves_nothing_after_the_next(tmp_path):
    saved, directory = model(tmp_path / 'model'), tmp_path / 'target'
    arguments = [sys.executable, '-c', _KILLED, saved, str(directory)]
    assert (
        subprocess.run(arguments, cwd=_ROOT, check=False, stderr=subprocess.DEVNULL).returncode
        == -9
    )
    (left,) = _entries(directory)
    assert left.startswith('.incoming-') and target.versions(str(directory)) == []
    (directory / f'.incoming-{socket.gethostname()}-77.part').write_text('a manifest, half written')
    foreign = directory / '.incoming-other-host-1'
    foreign.mkdir()
    stale = directory / '.incoming-other-host-2'
    stale.mkdir()
    os.utime(stale, (time.time() - 90_000,) * 2)
    pushed = publish(saved, directory)
    assert _entries(directory) == {pushed.version, foreign.name}
    assert target.verify(pushed.path) == []


# --- targets that refuse
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 1 MB; for root only."""
    directory = tmp_path / 'disk'
    directory.mkdir()
    mounted = os.geteuid() == 0 and shutil.which('mount') is not None
    mounted = (
        mounted
        and subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory],
            check=False,
            capture_output=True,
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip('mounting a tmpfs is not allowed here: needs root')
    yield directory
    subprocess.run(['umount', directory], check=True)


def test_full_disk(tmp_path, small_disk):
    kept = publish(model(tmp_path / 'small'), small_disk / 'target')
    with pytest.raises(
        push.PushError,
        match=(
            r'No space left on device .*the model takes 3\.0 MB, 1\.0 MB are free.*free space '
            r'there'
        ),
    ):
        publish(model(tmp_path / 'big', size=3_000_000), small_disk / 'target')
    assert _entries(small_disk / 'target') == {kept.version}
    assert publish(model(tmp_path / 'fits', 'fits'), small_disk / 'target').version > kept.version


def test_read_only_target(tmp_path, small_disk):
    subprocess.run(['mount', '-o', 'remount,ro', small_disk], check=True)
    for directory in (small_disk, small_disk / 'target'):
        with pytest.raises(
            push.PushError,
            match=r'Read-only file system .*mount it writable or name another target',
        ):
            publish(model(tmp_path / 'model'), directory)


def test_no_permission(tmp_path):
    if os.geteuid() == 0:
        pytest.skip('root may write everywhere; the read-only mount is tested instead')
    (tmp_path / 'target').mkdir(mode=0o500)
    with pytest.raises(push.PushError, match='give this user write access'):
        publish(model(tmp_path / 'model'), tmp_path / 'target')


@pytest.mark.parametrize('path', ['file', 'file/below'])
def test_target_is_a_file(tmp_path, path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(push.PushError, match='name another target or move the file away'):
        publish(model(tmp_path / 'model'), tmp_path / path)
    assert (tmp_path / 'file').read_text() == ''


def test_no_saved_model(tmp_path):
    with pytest.raises(push.PushError, match=r'holds no saved_model\.pb'):
        publish(str(tmp_path), tmp_path / 'target')


def test_full_disk_after_the_version_appeared(tmp_path, monkeypatch, caplog):
    """The folder is renamed and served: what fails after that fails no push."""
    monkeypatch.setattr(storage, 'sync_dir', _no_space)
    pushed = publish(model(tmp_path / 'model'), tmp_path / 'target')
    assert target.verify(pushed.path) == []
    assert f'{pushed.path} is served, but the push could not tidy up after itself' in caplog.text


def _no_space(path: str) -> None:
    # Not while the version is made: only when its folder is in the target.
    if Path(path).name == 'target':
        raise OSError(errno.ENOSPC, 'No space left on device', path)


# --- the component
# --------------------------------------------------------------------------------------------------


def _artifacts(
    folder: Path, *, model_blessed: int = 1, infra_blessed: int = 1
) -> tuple[dict, dict]:
    kinds = {
        'model': standard_artifacts.Model,
        'model_blessing': standard_artifacts.ModelBlessing,
        'infra_blessing': standard_artifacts.InfraBlessing,
        'pushed_model': standard_artifacts.PushedModel,
    }
    found = {}
    for name, kind in kinds.items():
        found[name] = kind()
        found[name].uri = str(folder / name)
        (folder / name).mkdir(parents=True)
    model(folder / 'model' / 'Format-Serving')
    model(Path(_stamped(found['infra_blessing'])))
    warmup = Path(_stamped(found['infra_blessing'])) / 'assets.extra'
    warmup.mkdir()
    (warmup / 'tf_serving_warmup_requests').write_text('requests')
    found['model_blessing'].set_int_custom_property('blessed', model_blessed)
    found['infra_blessing'].set_int_custom_property('blessed', infra_blessed)
    found['infra_blessing'].set_int_custom_property('has_model', 1)
    for name in ('model_blessing', 'infra_blessing'):
        found[name].set_string_custom_property(blessed.MODEL, blessed.model_digest(found['model']))
    stamped = target.model_digest(target.digests(_stamped(found['infra_blessing'])))
    found['infra_blessing'].set_string_custom_property(blessed.STAMPED, stamped)
    return {name: [found[name]] for name in kinds if name != 'pushed_model'}, {
        'pushed_model': [found['pushed_model']]
    }


def _stamped(blessing: types.Artifact) -> str:
    return path_utils.stamped_model_path(blessing.uri)


def _properties(directory: Path, **fields) -> dict[str, str]:
    known = {
        'target': str(directory),
        'candidate_key': 'key',
        'push_nonce': 'nonce',
        'pipeline_name': 'cxr',
        'config': {'seed': 1},
    }
    return {'push': PushParameters(**(known | fields)).model_dump_json(), 'code_digest': ''}


def _executor() -> Executor:
    return Executor(base_executor.BaseExecutor.Context(pipeline_run_id='run-1'))


def test_executor_pushes_the_stamped_model(tmp_path):
    inputs, outputs = _artifacts(tmp_path)
    _executor().Do(inputs, outputs, _properties(tmp_path / 'target'))
    pushed = outputs['pushed_model'][0]
    (served,) = target.versions(str(tmp_path / 'target'))
    assert pushed.get_int_custom_property('pushed') == 1
    assert pushed.get_string_custom_property('pushed_destination') == served.path
    assert pushed.get_string_custom_property('pushed_version') == served.version
    manifest = served.manifest
    assert manifest is not None and 'assets.extra/tf_serving_warmup_requests' in manifest.files
    assert (
        manifest.run_id,
        manifest.pipeline_name,
        manifest.config,
        manifest.baseline_version,
    ) == ('run-1', 'cxr', {'seed': 1}, None)
    assert manifest.model_uri == inputs['model'][0].uri
    assert manifest.packages['tfx'] and manifest.pushed_at.endswith('+00:00')
    assert target.verify(pushed.uri) == []

    again_inputs, again_outputs = _artifacts(tmp_path / 'again')
    _executor().Do(
        again_inputs,
        again_outputs,
        _properties(tmp_path / 'target', push_nonce='n2', baseline_version=served.version),
    )
    assert [
        again_outputs['pushed_model'][0].get_int_custom_property(name)
        for name in ('pushed', 'already_served')
    ] == [1, 1]
    assert (
        again_outputs['pushed_model'][0].get_string_custom_property('pushed_destination')
        == served.path
    )
    assert len(target.versions(str(tmp_path / 'target'))) == 1


@pytest.mark.parametrize(
    ('verdicts', 'drop'),
    [
        ({'model_blessed': 0}, ''),
        ({'infra_blessed': 0}, ''),
        ({}, 'model_blessing'),
        ({}, 'infra_blessing'),
    ],
    ids=[
        'Evaluator says no',
        'ServingCheck says no',
        'Evaluator says nothing',
        'ServingCheck says nothing',
    ],
)
def test_executor_needs_both_blessings(tmp_path, verdicts, drop):
    inputs, outputs = _artifacts(tmp_path, **verdicts)
    inputs.pop(drop, None)
    _executor().Do(inputs, outputs, _properties(tmp_path / 'target'))
    assert outputs['pushed_model'][0].get_int_custom_property('pushed') == 0
    assert not (tmp_path / 'target').exists()


@pytest.mark.parametrize(
    ('overwritten', 'judged', 'message'),
    [
        (['model'], [], 'model is not the one that Evaluator blessed'),
        (['infra_blessing'], [], 'infra_blessing is not the one that ServingCheck blessed'),
        (['model', 'infra_blessing'], [], 'model is not the one that Evaluator blessed'),
        (
            ['model', 'infra_blessing'],
            ['model_blessing'],
            'model is not the one that ServingCheck blessed',
        ),
        ([], ['nothing'], 'blessed was a model without a digest'),
    ],
    ids=[
        'the model',
        'the copy with warm-up',
        'both',
        'both, and Evaluator judged the other',
        'a blessing of an older release',
    ],
)
def test_executor_pushes_only_what_was_judged(tmp_path, overwritten, judged, message):
    """Another model lies where the blessed one lay."""
    inputs, outputs = _artifacts(tmp_path)
    for name in overwritten:
        model(
            tmp_path / 'model' / 'Format-Serving'
            if name == 'model'
            else Path(_stamped(inputs[name][0])),
            'other',
        )
    if 'model_blessing' in judged:
        inputs['model_blessing'][0].set_string_custom_property(
            blessed.MODEL, blessed.model_digest(inputs['model'][0])
        )
    if 'nothing' in judged:
        inputs['model_blessing'][0].set_string_custom_property(blessed.MODEL, '')
    with pytest.raises(
        push.PushError,
        match=rf'{message}.*Delete that folder and run again' if judged != ['nothing'] else message,
    ):
        _executor().Do(inputs, outputs, _properties(tmp_path / 'target'))
    assert not (tmp_path / 'target').exists()


def test_executor_says_that_the_model_is_served_when_its_record_fails(tmp_path, small_disk):
    """The disk of the artifacts is full when the model is in the target already."""
    inputs, outputs = _artifacts(tmp_path)
    outputs['pushed_model'][0].uri = str(small_disk / 'pushed_model')
    (small_disk / 'ballast').write_bytes(b'0' * (1 << 20))
    message = (
        r'version \d+ is served from .*target/\d+, but its copy .* cannot be written: .*No space '
        r'left on device.*run again'
    )
    with pytest.raises(push.PushError, match=message):
        _executor().Do(inputs, outputs, _properties(tmp_path / 'target'))
    (served,) = target.versions(str(tmp_path / 'target'))
    (small_disk / 'ballast').unlink()
    _executor().Do(inputs, outputs, _properties(tmp_path / 'target'))
    pushed = outputs['pushed_model'][0]
    assert [pushed.get_int_custom_property(name) for name in ('pushed', 'already_served')] == [1, 1]
    assert target.versions(str(tmp_path / 'target')) == [served]
    assert target.verify(pushed.uri) == []


@pytest.mark.parametrize(
    'wrong',
    [
        {'keep_versions': 1},
        {'push_nonce': '../x'},
        {'baseline_version': 'newest'},
        {'target': ''},
        {'more': 1},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_parameters_are_strict(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        _properties(Path('target'), **wrong)


def test_component_connects():
    component = Pusher(
        model=types.Channel(type=standard_artifacts.Model),
        model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
        infra_blessing=types.Channel(type=standard_artifacts.InfraBlessing),
        evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
        push=json.dumps({}),
        code_digest='abc',
    )
    assert component.outputs['pushed_model'].type is standard_artifacts.PushedModel
    assert component.executor_spec.class_path == 'components.pusher.executor.Executor'
