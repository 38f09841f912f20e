"""Commands of pods run in processes with mounted folders, or in containers of Docker."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.kubeflow import spec as kubeflow_spec
from tests.support import scripted_steps as scripted
from tests.support.kfp.pods import (
    UNSHARE,
    Containers,
    Pod,
    PodError,
    PodRunner,
    Processes,
    image_user,
)
from tests.support.kfp.runs import Cluster, RunError
from tests.support.scripted_steps import Scripted

ROOT = 'minio://mlpipeline/runs'


def _pod(tmp_path: Path, *command: str, **overrides) -> Pod:
    folder = tmp_path / 'volume'
    folder.mkdir()
    folders = {'/minio': folder, '/volume of images/data': tmp_path}
    defaults = {
        'name': 'pod',
        'image': 'test:1',
        'command': list(command),
        'folders': folders,
        'environment': {'ONE': '1'},
    }
    defaults |= {'memory_gb': None, 'gpus': 0, 'log': tmp_path / 'log'}
    return Pod(**{**defaults, **overrides})


@pytest.fixture
def processes() -> Processes:
    """Runs pods as processes; the test is skipped if the system has no namespaces."""
    result = subprocess.run([*UNSHARE, 'true'], capture_output=True, check=False)
    if result.returncode != 0:
        pytest.skip(f'no namespaces: {result.stderr.decode().strip()}')
    return Processes()


def test_a_process_sees_the_mounted_folders(tmp_path: Path, processes: Processes) -> None:
    script = (
        'set -e; echo text >/minio/file; cat "/volume of images/data/log" >/dev/null; pwd; echo '
        '$ONE; python -c "import kubeflow"; exit 3'
    )
    assert processes.run(_pod(tmp_path, '/bin/sh', '-c', script)) == 3
    assert (tmp_path / 'volume' / 'file').read_text() == 'text\n'
    assert (tmp_path / 'log').read_text().splitlines() == [
        str(Path(kubeflow_spec.__file__).resolve().parents[2]),
        '1',
    ]
    # The mounts exist only in the process.
    assert not Path('/minio').exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['log', 'volume']


def test_a_process_starts_with_the_umask_of_argo(tmp_path: Path, processes: Processes) -> None:
    assert processes.run(_pod(tmp_path, '/bin/sh', '-c', 'umask; mkdir /minio/folder')) == 0
    assert (tmp_path / 'log').read_text() == '0000\n'
    assert (tmp_path / 'volume' / 'folder').stat().st_mode & 0o777 == 0o777


def test_a_folder_that_cannot_be_mounted_is_reported(tmp_path: Path, processes: Processes) -> None:
    pod = _pod(tmp_path, 'true')
    with pytest.raises(PodError, match=r'pod could not be started: .*/none'):
        processes.run(dataclasses.replace(pod, folders={**pod.folders, '/data': tmp_path / 'none'}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['log', 'volume']


def _fake_docker(tmp_path: Path, exit_code: int) -> str:
    """Writes a program that prints its arguments, one per line."""
    docker = tmp_path / 'docker'
    docker.write_text(
        f'#!/bin/sh\nfor argument in "$@"; do echo "$argument"; done\nexit {exit_code}\n'
    )
    docker.chmod(0o755)
    return str(docker)


def test_a_container_has_restricted_rights_and_no_network(tmp_path: Path) -> None:
    docker = _fake_docker(tmp_path, 4)
    pod = _pod(
        tmp_path, 'python', '-m', 'pipeline.kubeflow.entrypoint', '{"a": 1}', memory_gb=1.5, gpus=1
    )
    assert Containers(docker).run(pod) == 4
    arguments = (tmp_path / 'log').read_text().splitlines()
    assert arguments[:2] == ['run', '--rm']
    for option, value in [
        *(
            ('--network', 'none'),
            ('--cap-drop', 'ALL'),
            ('--security-opt', 'no-new-privileges'),
            ('--pull', 'never'),
        ),
        *(('--memory', '1500000000b'), ('--gpus', '1'), ('--env', 'ONE=1'), ('--name', 'pod')),
        *(('--volume', f'{tmp_path / "volume"}:/minio'), ('--entrypoint', '/bin/sh')),
    ]:
        assert (option, value) in list(itertools.pairwise(arguments))
    assert arguments[-7:] == [
        'test:1',
        '-c',
        'umask 0 && exec "$0" "$@"',
        'python',
        '-m',
        'pipeline.kubeflow.entrypoint',
        '{"a": 1}',
    ]


def test_a_docker_engine_without_a_daemon_is_reported(tmp_path: Path) -> None:
    docker = tmp_path / 'docker'
    docker.write_text('#!/bin/sh\necho Cannot connect to the Docker daemon >&2\nexit 125\n')
    docker.chmod(0o755)
    with pytest.raises(
        PodError,
        match=(
            r'(?s)could not start a container of test:1: Cannot connect to the Docker '
            r'daemon.*make image'
        ),
    ):
        Containers(str(docker)).run(_pod(tmp_path, 'true'))


def test_missing_docker_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PodError, match='is not installed: install Docker'):
        Containers(str(tmp_path / 'docker')).run(_pod(tmp_path, 'true'))


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(PodError, match='cxr-triage:cpu is not here: build it'):
        image_user(_fake_docker(tmp_path, 1), os.environ, 'cxr-triage:cpu')


class OnlyOne:
    """Runs one step; the other steps do nothing."""

    def __init__(self, step: str, runner: PodRunner):
        self._step, self._runner = step, runner

    def run(self, pod: Pod) -> int:
        if pod.name.split('-')[2] == self._step.lower():
            return self._runner.run(pod)
        pod.log.write_text('')
        return 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ('step', 'error'),
    [
        ('StatisticsGen', "'NoneType' object has no attribute 'get'"),
        ('CuratedSchema', r'Could not import system\.Artifact'),
    ],
)
def test_tfx_fails_without_our_entry_point_as_on_kubeflow(
    compiled: dict, tmp_path: Path, processes: Processes, step: str, error: str
) -> None:
    spec = json.loads(json.dumps(compiled))
    kubeflow_spec.executor_of(spec, step)['container']['command'] = [
        *('python', '-m', 'tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor')
    ]
    for task in spec['root']['dag']['tasks'].values():
        task.pop('retryPolicy', None)
    cluster = Cluster(tmp_path / 'cluster', OnlyOne(step, processes))
    with pytest.raises(RunError) as caught:
        cluster.submit((spec, {}), ROOT)
    assert caught.value.step.name == step
    log = caught.value.step.logs[-1].read_text()
    assert 'pipeline.kubeflow.entrypoint' not in log
    assert re.search(error, log), log[-3000:]


@pytest.mark.slow
def test_a_step_with_our_entry_point_writes_its_output(
    compiled: dict, tmp_path: Path, processes: Processes
) -> None:
    spec = scripted.spec(
        {'CuratedSchema': compiled['root']['dag']['tasks']['CuratedSchema']},
        {'CuratedSchema': compiled['components']['CuratedSchema']},
    )
    spec['deploymentSpec']['executors'] = {
        'CuratedSchema_executor': kubeflow_spec.executor_of(compiled, 'CuratedSchema')
    }
    (step,) = Cluster(tmp_path / 'cluster', processes).submit((spec, {}), ROOT)
    uri = step.outputs['schema'].uri
    assert uri.startswith(ROOT)
    schema = tmp_path / 'cluster/store/minio' / uri.removeprefix('minio://') / 'schema.pbtxt'
    assert 'feature {' in schema.read_text()


def test_volume_claims_become_folders_of_pods(pipeline, config: Config, tmp_path: Path) -> None:
    volumes = [{'claim': 'images', 'mount': '/data'}, {'claim': 'served', 'mount': '/served'}]
    parameters = config.kubeflow.model_validate({'image': 'test:1', 'volumes': volumes})
    spec, platform = kubeflow_spec.documents(pipeline, parameters)
    mounts: list[dict[str, Path]] = []

    class RecordsMounts(Scripted):
        def run(self, pod: Pod) -> int:
            pod.log.write_text('')
            mounts.append(
                {
                    path: folder
                    for path, folder in pod.folders.items()
                    if path in ('/data', '/served')
                }
            )
            return 0

    claims = {name: tmp_path / name for name in ('images', 'served')}
    for folder in claims.values():
        folder.mkdir()
    Cluster(tmp_path / 'cluster', RecordsMounts(), claims).submit((spec, platform), ROOT)
    assert mounts == [{'/data': claims['images'], '/served': claims['served']}] * 12
