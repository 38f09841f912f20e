"""Pusher writes a complete version or none, needs two blessings, and leaves a manifest."""

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


def test_pushes_within_one_second_get_different_versions(tmp_path):
    pushed = [
        publish(model(tmp_path / f'model{number}', str(number)), tmp_path / 'target').version
        for number in range(3)
    ]
    assert [int(version) for version in pushed] == sorted({int(version) for version in pushed})


def test_same_model_is_not_pushed_again_and_the_manifest_confirms_it(tmp_path):
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


def test_same_candidate_trained_again_does_not_replace_the_served_version(tmp_path, caplog):
    """The artifacts of the run that pushed are lost, so the next run trains the candidate again."""
    first = publish(model(tmp_path / 'a', 'a'), tmp_path / 'target', expected_newest='')
    again = publish(model(tmp_path / 'b', 'b'), tmp_path / 'target', expected_newest='')
    assert again == push.Pushed(first.version, first.path, already_served=True)
    assert _entries(tmp_path / 'target') == {first.version}
    assert (
        f'Version {first.version} was pushed for the same data, code and configuration and stays'
        in caplog.text
    )
    Path(first.path, 'saved_model.pb').unlink()
    pushed = publish(model(tmp_path / 'b', 'b'), tmp_path / 'target', expected_newest='')
    assert not pushed.already_served and int(pushed.version) > int(first.version)


def test_push_is_refused_after_another_push_during_the_run(tmp_path):
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


def test_old_versions_are_deleted_but_not_foreign_ones(tmp_path):
    publish(model(tmp_path / 'model'), tmp_path / 'target')
    model(tmp_path / 'target' / '7')
    pushed = [
        publish(
            model(tmp_path / f'm{number}', str(number)), tmp_path / 'target', keep_versions=2
        ).version
        for number in range(4)
    ]
    assert _entries(tmp_path / 'target') == {'7', *pushed[2:]}


def _watch(directory: str, stop: threading.Event, report: list) -> None:
    """Polls the target as TF Serving does; reports incomplete versions, then how many it read."""
    count = 0
    while not stop.is_set():
        for name in storage.names(directory):
            if name.isdigit():
                count += 1
                try:
                    problems = target.verify(os.path.join(directory, name))
                except target.TargetError as error:
                    problems = [str(error)]
                if problems and os.path.isdir(os.path.join(directory, name)):
                    report.append(f'{name}: {problems}')
    report.append(count)


def test_reader_never_sees_an_incomplete_version(tmp_path):
    directory = tmp_path / 'target'
    directory.mkdir()
    stop, report = threading.Event(), []
    reader = threading.Thread(target=_watch, args=(str(directory), stop, report))
    reader.start()
    for number in range(6):
        publish(model(tmp_path / f'm{number}', str(number), size=3_000_000), directory)
    stop.set()
    reader.join()
    assert report[-1] > 0, 'the reader has read versions'
    assert report[:-1] == []


def test_two_concurrent_pushers_lose_no_version(tmp_path):
    context = multiprocessing.get_context('spawn')
    results = context.Queue()
    models = [
        [model(tmp_path / f'{worker}{number}', f'{worker}{number}') for number in range(3)]
        for worker in 'ab'
    ]
    workers = [
        context.Process(target=publish_many, args=(str(tmp_path / 'target'), paths, results))
        for paths in models
    ]
    for worker in workers:
        worker.start()
    versions = [version for _ in workers for version in results.get(timeout=120)]
    for worker in workers:
        worker.join()
    assert len(set(versions)) == 6
    assert [served.version for served in target.versions(str(tmp_path / 'target'))] == sorted(
        versions, key=int
    )
    assert all(target.verify(str(tmp_path / 'target' / version)) == [] for version in versions)


def test_lock_of_another_push_is_reported(tmp_path):
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
    assert target.read_manifest(first.path).confirmed, 'the manifest was written again'
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
    assert shared.stat().st_mode & 0o777 == 0o700, 'an existing folder keeps its mode'


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


def test_next_push_removes_what_a_killed_push_left(tmp_path):
    saved, directory = model(tmp_path / 'model'), tmp_path / 'target'
    arguments = [sys.executable, '-c', _KILLED, saved, str(directory)]
    assert (
        subprocess.run(arguments, cwd=_ROOT, check=False, stderr=subprocess.DEVNULL).returncode
        == -9
    )
    (staging,) = _entries(directory)
    assert staging.startswith('.incoming-') and target.versions(str(directory)) == []
    (directory / f'.incoming-{socket.gethostname()}-77.part').write_text('half a manifest')
    foreign = directory / '.incoming-other-host-1'
    foreign.mkdir()
    stale = directory / '.incoming-other-host-2'
    stale.mkdir()
    os.utime(stale, (time.time() - 90_000,) * 2)
    pushed = publish(saved, directory)
    assert _entries(directory) == {pushed.version, foreign.name}
    assert target.verify(pushed.path) == []


# --- targets that cannot be written


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 1 MB. Only root can mount it."""
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
        pytest.skip('needs root, to mount a tmpfs')
    yield directory
    subprocess.run(['umount', directory], check=True)


def test_full_disk_stops_the_push_and_spares_the_served_version(tmp_path, small_disk):
    served = publish(model(tmp_path / 'small'), small_disk / 'target')
    with pytest.raises(
        push.PushError,
        match=(
            r'No space left on device .*the model takes 3\.0 MB, 1\.0 MB are free.*free space '
            r'there'
        ),
    ):
        publish(model(tmp_path / 'big', size=3_000_000), small_disk / 'target')
    assert _entries(small_disk / 'target') == {served.version}
    assert publish(model(tmp_path / 'fits', 'fits'), small_disk / 'target').version > served.version


def test_read_only_target_is_refused(tmp_path, small_disk):
    subprocess.run(['mount', '-o', 'remount,ro', small_disk], check=True)
    for directory in (small_disk, small_disk / 'target'):
        with pytest.raises(
            push.PushError,
            match=r'Read-only file system .*mount it writable or name another target',
        ):
            publish(model(tmp_path / 'model'), directory)


def test_target_without_write_permission_is_refused(tmp_path):
    if os.geteuid() == 0:
        pytest.skip('root can write everywhere; test_read_only_target_is_refused covers root')
    (tmp_path / 'target').mkdir(mode=0o500)
    with pytest.raises(push.PushError, match='give this user write access'):
        publish(model(tmp_path / 'model'), tmp_path / 'target')


@pytest.mark.parametrize('path', ['file', 'file/below'])
def test_target_that_is_a_file_is_refused(tmp_path, path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(push.PushError, match='name another target or move the file away'):
        publish(model(tmp_path / 'model'), tmp_path / path)
    assert (tmp_path / 'file').read_text() == ''


def test_folder_without_a_saved_model_is_refused(tmp_path):
    with pytest.raises(push.PushError, match=r'holds no saved_model\.pb'):
        publish(str(tmp_path), tmp_path / 'target')


def test_full_disk_after_the_version_is_served_does_not_fail_the_push(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(storage, 'sync_dir', _no_space)
    pushed = publish(model(tmp_path / 'model'), tmp_path / 'target')
    assert target.verify(pushed.path) == []
    assert f'{pushed.path} is served, but the push could not clean up afterwards' in caplog.text


def _no_space(path: str) -> None:
    # The push syncs the folder of the version first, and the target after the rename.
    if Path(path).name == 'target':
        raise OSError(errno.ENOSPC, 'No space left on device', path)


# --- the component


def _artifacts(
    folder: Path, *, model_blessed: int = 1, infra_blessed: int = 1
) -> tuple[dict, dict]:
    kinds = {
        'model': standard_artifacts.Model,
        'model_blessing': standard_artifacts.ModelBlessing,
        'infra_blessing': standard_artifacts.InfraBlessing,
        'pushed_model': standard_artifacts.PushedModel,
    }
    artifacts = {}
    for name, kind in kinds.items():
        artifacts[name] = kind()
        artifacts[name].uri = str(folder / name)
        (folder / name).mkdir(parents=True)
    model(folder / 'model' / 'Format-Serving')
    stamped_model = _stamped_model(artifacts['infra_blessing'])
    model(stamped_model)
    (stamped_model / 'assets.extra').mkdir()
    (stamped_model / 'assets.extra' / 'tf_serving_warmup_requests').write_text('requests')
    artifacts['model_blessing'].set_int_custom_property('blessed', model_blessed)
    artifacts['infra_blessing'].set_int_custom_property('blessed', infra_blessed)
    artifacts['infra_blessing'].set_int_custom_property('has_model', 1)
    digest = blessed.model_digest(artifacts['model'])
    for name in ('model_blessing', 'infra_blessing'):
        artifacts[name].set_string_custom_property(blessed.MODEL, digest)
    artifacts['infra_blessing'].set_string_custom_property(
        blessed.STAMPED, target.model_digest(target.digests(str(stamped_model)))
    )
    return {name: [artifacts[name]] for name in kinds if name != 'pushed_model'}, {
        'pushed_model': [artifacts['pushed_model']]
    }


def _stamped_model(blessing: types.Artifact) -> Path:
    return Path(path_utils.stamped_model_path(blessing.uri))


def _properties(directory: Path, **fields) -> dict[str, str]:
    defaults = {
        'target': str(directory),
        'candidate_key': 'key',
        'push_nonce': 'nonce',
        'pipeline_name': 'cxr',
        'config': {'seed': 1},
    }
    return {'push': PushParameters(**(defaults | fields)).model_dump_json(), 'code_digest': ''}


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
        'Evaluator refuses',
        'ServingCheck refuses',
        'no blessing of Evaluator',
        'no blessing of ServingCheck',
    ],
)
def test_executor_needs_both_blessings(tmp_path, verdicts, drop):
    inputs, outputs = _artifacts(tmp_path, **verdicts)
    inputs.pop(drop, None)
    _executor().Do(inputs, outputs, _properties(tmp_path / 'target'))
    assert outputs['pushed_model'][0].get_int_custom_property('pushed') == 0
    assert not (tmp_path / 'target').exists()


@pytest.mark.parametrize(
    ('overwritten', 'model_blessing', 'message'),
    [
        (['model'], 'of the first model', 'model is not the one that Evaluator blessed'),
        (
            ['infra_blessing'],
            'of the first model',
            'infra_blessing is not the one that ServingCheck blessed',
        ),
        (
            ['model', 'infra_blessing'],
            'of the first model',
            'model is not the one that Evaluator blessed',
        ),
        (
            ['model', 'infra_blessing'],
            'of the new model',
            'model is not the one that ServingCheck blessed',
        ),
        ([], 'without a digest', 'blessed was a model without a digest'),
    ],
    ids=[
        'the model',
        'the copy with warm-up',
        'both',
        'both, and Evaluator blessed the new one',
        'a blessing of an older release',
    ],
)
def test_executor_refuses_a_model_that_was_not_blessed(
    tmp_path, overwritten, model_blessing, message
):
    """Another model has overwritten the blessed one."""
    inputs, outputs = _artifacts(tmp_path)
    for name in overwritten:
        model(
            tmp_path / 'model' / 'Format-Serving'
            if name == 'model'
            else _stamped_model(inputs[name][0]),
            'other',
        )
    if model_blessing == 'of the new model':
        inputs['model_blessing'][0].set_string_custom_property(
            blessed.MODEL, blessed.model_digest(inputs['model'][0])
        )
    if model_blessing == 'without a digest':
        inputs['model_blessing'][0].set_string_custom_property(blessed.MODEL, '')
    with pytest.raises(
        push.PushError,
        match=rf'{message}.*Delete that folder and run again' if overwritten else message,
    ):
        _executor().Do(inputs, outputs, _properties(tmp_path / 'target'))
    assert not (tmp_path / 'target').exists()


def test_executor_reports_the_served_version_when_its_artifact_cannot_be_written(
    tmp_path, small_disk
):
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
    'fields',
    [
        {'keep_versions': 1},
        {'push_nonce': '../x'},
        {'baseline_version': 'newest'},
        {'target': ''},
        {'more': 1},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_invalid_parameters_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        _properties(Path('target'), **fields)


def test_component_has_its_output_and_executor():
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
