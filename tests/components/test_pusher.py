"""Pusher and the push target: whole versions or none, from two blessings, with a record that can be checked."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import pytest
from push_targets import maker, model, publish, publish_many
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.pusher import push, storage, target
from components.pusher.component import Pusher
from components.pusher.executor import Executor
from components.pusher.parameters import PushParameters

_ROOT = Path(__file__).resolve().parents[2]


def _entries(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()} - {'.push.lock'}


# --- pushing ------------------------------------------------------------------------------------------------------------------------


def test_versions_of_one_second_do_not_collide(tmp_path):
    pushed = [publish(model(tmp_path / f'model{number}', str(number)), tmp_path / 'target').version for number in range(3)]
    assert [int(version) for version in pushed] == sorted({int(version) for version in pushed})


def test_same_model_is_not_pushed_again_but_noted(tmp_path):
    saved = model(tmp_path / 'model')
    first = publish(saved, tmp_path / 'target')
    options = {'candidate_key': 'key2', 'push_nonce': 'nonce2', 'baseline_version': first.version, 'run_id': 'r2'}
    again = push.publish(saved, str(tmp_path / 'target'), maker(**options), expected_newest=first.version)
    assert again == push.Pushed(first.version, first.path, already_served=True)
    assert _entries(tmp_path / 'target') == {first.version}
    manifest = target.read_manifest(first.path)
    assert (manifest.candidate_key, manifest.run_id) == ('key', 'r')
    assert target.plan_push(manifest, 'key2', lambda uri: True, 'new') == target.PushPlan(first.version, 'nonce2')
    assert target.verify(first.path) == []


def test_damaged_newest_version_is_pushed_again(tmp_path):
    saved = model(tmp_path / 'model')
    first = publish(saved, tmp_path / 'target')
    Path(first.path, 'variables', 'variables.data').write_text('rot')
    second = publish(saved, tmp_path / 'target', expected_newest='')
    assert not second.already_served and second.version != first.version
    assert target.verify(second.path) == []


def test_push_is_refused_when_another_came_first(tmp_path):
    first = publish(model(tmp_path / 'a', 'a'), tmp_path / 'target', expected_newest='')
    with pytest.raises(push.PushError, match=rf'serves version {first.version}, pushed while .* compared with no version: run again'):
        publish(model(tmp_path / 'b', 'b'), tmp_path / 'target', expected_newest='')
    assert publish(model(tmp_path / 'b', 'b'), tmp_path / 'target', expected_newest=first.version).version > first.version


def test_old_versions_go_and_foreign_ones_stay(tmp_path):
    model(tmp_path / 'target' / '7')
    pushed = [publish(model(tmp_path / f'm{number}', str(number)), tmp_path / 'target', keep_versions=2).version for number in range(4)]
    assert _entries(tmp_path / 'target') == {'7', *pushed[2:]}


def _watch(directory: str, stop, bad) -> None:
    """Looks at the target as TF Serving does, all the time, and notes a version that is not whole."""
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
    models = [[model(tmp_path / f'{worker}{number}', f'{worker}{number}') for number in range(3)] for worker in 'ab']
    workers = [context.Process(target=publish_many, args=(str(tmp_path / 'target'), own, results)) for own in models]
    for worker in workers:
        worker.start()
    found = [version for _ in workers for version in results.get(timeout=120)]
    for worker in workers:
        worker.join()
    assert len(set(found)) == 6
    assert [served.version for served in target.versions(str(tmp_path / 'target'))] == sorted(found, key=int)
    assert all(target.verify(str(tmp_path / 'target' / version)) == [] for version in found)


def test_lock_of_another_push_is_named(tmp_path):
    with filelock.FileLock(tmp_path / '.push.lock'), pytest.raises(push.PushError, match=r'\.push\.lock is held by another push'):
        publish(model(tmp_path / 'model'), tmp_path, lock_timeout_s=0.2)


_KILLED = """
import os, signal, sys
from components.pusher import push, storage
copied = []
def copy(source, destination, copy=storage.copy):
    copy(source, destination)
    copied.append(destination)
    os.kill(os.getpid(), signal.SIGKILL)
storage.copy = copy
sys.path.insert(0, sys.argv[3])
import push_targets
push_targets.publish(sys.argv[1], sys.argv[2])
"""


def test_killed_push_leaves_nothing_after_the_next(tmp_path):
    saved, directory = model(tmp_path / 'model'), tmp_path / 'target'
    arguments = [sys.executable, '-c', _KILLED, saved, str(directory), str(Path(__file__).parent)]
    assert subprocess.run(arguments, cwd=_ROOT, check=False, stderr=subprocess.DEVNULL).returncode == -9
    (left,) = _entries(directory)
    assert left.startswith('.incoming-') and target.versions(str(directory)) == []
    foreign = directory / '.incoming-other-host-1'
    foreign.mkdir()
    stale = directory / '.incoming-other-host-2'
    stale.mkdir()
    os.utime(stale, (time.time() - 90_000,) * 2)
    pushed = publish(saved, directory)
    assert _entries(directory) == {pushed.version, foreign.name}
    assert target.verify(pushed.path) == []


# --- targets that refuse ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 1 MB; for root only."""
    directory = tmp_path / 'disk'
    directory.mkdir()
    mounted = os.geteuid() == 0 and shutil.which('mount') is not None
    mounted = (
        mounted
        and subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory], check=False, capture_output=True).returncode == 0
    )
    if not mounted:
        pytest.skip('mounting a tmpfs is not allowed here: needs root')
    yield directory
    subprocess.run(['umount', directory], check=True)


def test_full_disk(tmp_path, small_disk):
    kept = publish(model(tmp_path / 'small'), small_disk / 'target')
    with pytest.raises(push.PushError, match=r'No space left on device .*the model takes 3\.0 MB, 1\.0 MB are free.*free space there'):
        publish(model(tmp_path / 'big', size=3_000_000), small_disk / 'target')
    assert _entries(small_disk / 'target') == {kept.version}
    assert publish(model(tmp_path / 'fits', 'fits'), small_disk / 'target').version > kept.version


def test_read_only_target(tmp_path, small_disk):
    subprocess.run(['mount', '-o', 'remount,ro', small_disk], check=True)
    for directory in (small_disk, small_disk / 'target'):
        with pytest.raises(push.PushError, match=r'Read-only file system .*mount it writable or name another target'):
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


def test_object_store(tmp_path, monkeypatch):
    """TensorFlow's file system in memory stands for one: it has a scheme, and nothing here renames."""
    directory = f'ram://{tmp_path.name}/target'
    copied = []
    original = storage.copy
    monkeypatch.setattr(storage, 'copy', lambda source, destination: (copied.append(destination), original(source, destination)))
    first = publish(model(tmp_path / 'a', 'a'), directory, keep_versions=2)
    assert copied[-1].endswith('/saved_model.pb') and len(copied) == 2
    assert target.verify(first.path) == []
    assert publish(model(tmp_path / 'a', 'a'), directory).already_served
    later = [publish(model(tmp_path / name, name), directory, keep_versions=2).version for name in 'bc']
    assert [served.version for served in target.versions(directory)] == later

    def fail(source: str, destination: str) -> None:
        if destination.endswith('saved_model.pb'):
            raise OSError(28, 'No space left on device')
        original(source, destination)

    monkeypatch.setattr(storage, 'copy', fail)
    with pytest.raises(push.PushError, match='No space left'):
        publish(model(tmp_path / 'd', 'd'), directory)
    assert sorted(storage.names(directory)) == later


# --- the component ------------------------------------------------------------------------------------------------------------------


def _artifacts(folder: Path, *, model_blessed: int = 1, infra_blessed: int = 1) -> tuple[dict, dict]:
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
    return {name: [found[name]] for name in kinds if name != 'pushed_model'}, {'pushed_model': [found['pushed_model']]}


def _stamped(blessing: types.Artifact) -> str:
    return path_utils.stamped_model_path(blessing.uri)


def _properties(directory: Path, **fields) -> dict[str, str]:
    known = {'target': str(directory), 'candidate_key': 'key', 'push_nonce': 'nonce', 'pipeline_name': 'cxr', 'config': {'seed': 1}}
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
    assert (manifest.run_id, manifest.pipeline_name, manifest.config, manifest.baseline_version) == ('run-1', 'cxr', {'seed': 1}, None)
    assert manifest.model_uri == inputs['model'][0].uri
    assert manifest.packages['tfx'] and manifest.pushed_at.endswith('+00:00')
    assert target.verify(pushed.uri) == []

    again_inputs, again_outputs = _artifacts(tmp_path / 'again')
    _executor().Do(again_inputs, again_outputs, _properties(tmp_path / 'target', push_nonce='n2', baseline_version=served.version))
    assert [again_outputs['pushed_model'][0].get_int_custom_property(name) for name in ('pushed', 'already_served')] == [1, 1]
    assert again_outputs['pushed_model'][0].get_string_custom_property('pushed_destination') == served.path
    assert len(target.versions(str(tmp_path / 'target'))) == 1


@pytest.mark.parametrize(
    ('blessed', 'drop'),
    [({'model_blessed': 0}, ''), ({'infra_blessed': 0}, ''), ({}, 'model_blessing'), ({}, 'infra_blessing')],
    ids=['Evaluator says no', 'ServingCheck says no', 'Evaluator says nothing', 'ServingCheck says nothing'],
)
def test_executor_needs_both_blessings(tmp_path, blessed, drop):
    inputs, outputs = _artifacts(tmp_path, **blessed)
    inputs.pop(drop, None)
    _executor().Do(inputs, outputs, _properties(tmp_path / 'target'))
    assert outputs['pushed_model'][0].get_int_custom_property('pushed') == 0
    assert not (tmp_path / 'target').exists()


def test_executor_refuses_blessings_of_different_models(tmp_path):
    inputs, outputs = _artifacts(tmp_path)
    model(tmp_path / 'model' / 'Format-Serving', 'other')
    with pytest.raises(push.PushError, match=r'is not the one that Evaluator blessed .*variables/variables\.data differs'):
        _executor().Do(inputs, outputs, _properties(tmp_path / 'target'))
    assert not (tmp_path / 'target').exists()


@pytest.mark.parametrize(
    'wrong',
    [{'keep_versions': 1}, {'push_nonce': '../x'}, {'baseline_version': 'newest'}, {'target': ''}, {'more': 1}],
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
