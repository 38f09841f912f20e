"""Where commands run: processes with folders of their own in the places of the launcher's volumes,
and the engine's command line.
"""

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


def _pod(tmp_path: Path, *command: str, **more) -> Pod:
    folder = tmp_path / 'volume'
    folder.mkdir()
    folders = {'/minio': folder, '/volume of films/data': tmp_path}
    given = {
        'name': 'pod',
        'image': 'test:1',
        'command': list(command),
        'folders': folders,
        'environment': {'ONE': '1'},
    }
    return Pod(**{**given, 'memory_gb': None, 'gpus': 0, 'log': tmp_path / 'log', **more})


@pytest.fixture
def processes() -> Processes:
    """Skipped where the system gives no namespaces, as in some containers."""
    tried = subprocess.run([*UNSHARE, 'true'], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f'no namespaces here: {tried.stderr.decode().strip()}')
    return Processes()


def test_a_process_sees_the_folders_in_their_places(tmp_path: Path, processes: Processes) -> None:
    script = (
        'set -e; echo there >/minio/file; cat "/volume of films/data/log" >/dev/null; pwd; echo '
        '$ONE; python -c "import kubeflow"; exit 3'
    )
    assert processes.run(_pod(tmp_path, '/bin/sh', '-c', script)) == 3
    assert (tmp_path / 'volume' / 'file').read_text() == 'there\n'
    assert (tmp_path / 'log').read_text().splitlines() == [
        str(Path(kubeflow_spec.__file__).resolve().parents[2]),
        '1',
    ]
    # All of it was the process's own.
    assert not Path('/minio').exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['log', 'volume']


def test_a_process_starts_with_the_umask_of_argo(tmp_path: Path, processes: Processes) -> None:
    assert processes.run(_pod(tmp_path, '/bin/sh', '-c', 'umask; mkdir /minio/folder')) == 0
    assert (tmp_path / 'log').read_text() == '0000\n'
    assert (tmp_path / 'volume' / 'folder').stat().st_mode & 0o777 == 0o777


def test_a_folder_that_cannot_be_mounted_is_no_failed_step(
    tmp_path: Path, processes: Processes
) -> None:
    pod = _pod(tmp_path, 'true')
    with pytest.raises(PodError, match=r'pod could not be started: .*/none'):
        processes.run(dataclasses.replace(pod, folders={**pod.folders, '/data': tmp_path / 'none'}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['log', 'volume']


def _recording(tmp_path: Path, exit_code: int) -> str:
    docker = tmp_path / 'docker'
    docker.write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word"; done\nexit {exit_code}\n')
    docker.chmod(0o755)
    return str(docker)


def test_a_container_has_the_rights_of_a_pod_and_no_network(tmp_path: Path) -> None:
    docker = _recording(tmp_path, 4)
    pod = _pod(
        tmp_path, 'python', '-m', 'pipeline.kubeflow.entrypoint', '{"a": 1}', memory_gb=1.5, gpus=1
    )
    assert Containers(docker).run(pod) == 4
    words = (tmp_path / 'log').read_text().splitlines()
    assert words[:2] == ['run', '--rm']
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
        assert (option, value) in list(itertools.pairwise(words))
    assert words[-7:] == [
        'test:1',
        '-c',
        'umask 0 && exec "$0" "$@"',
        'python',
        '-m',
        'pipeline.kubeflow.entrypoint',
        '{"a": 1}',
    ]


def test_an_engine_that_starts_no_container_is_no_failed_step(tmp_path: Path) -> None:
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


def test_without_docker_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(PodError, match='is not installed: install Docker'):
        Containers(str(tmp_path / 'docker')).run(_pod(tmp_path, 'true'))


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PodError, match='cxr-triage:cpu is not here: build it'):
        image_user(_recording(tmp_path, 1), os.environ, 'cxr-triage:cpu')


class OnlyOne:
    """Runs one step for real, and in the place of the others nothing."""

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
def test_without_the_entry_point_tfx_dies_as_it_does_on_kubeflow(
    compiled: dict, tmp_path: Path, processes: Processes, step: str, error: str
) -> None:
    spec = json.loads(json.dumps(compiled))
    kubeflow_spec.executor_of(spec, step)['container']['command'] = [
        *('python', '-m', 'tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor')
    ]
    for task in spec['root']['dag']['tasks'].values():
        task.pop('retryPolicy', None)
    cluster = Cluster(tmp_path / 'cluster', OnlyOne(step, processes))
    with pytest.raises(RunError) as failed:
        cluster.submit((spec, {}), ROOT)
    assert failed.value.step.name == step
    log = failed.value.step.logs[-1].read_text()
    assert 'pipeline.kubeflow.entrypoint' not in log
    assert re.search(error, log), log[-3000:]


@pytest.mark.slow
def test_with_it_the_same_step_does_its_work(
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
    written = tmp_path / 'cluster/store/minio' / uri.removeprefix('minio://') / 'schema.pbtxt'
    assert 'feature {' in written.read_text()


def test_claims_of_a_configuration_become_folders_of_pods(
    pipeline, config: Config, tmp_path: Path
) -> None:
    volumes = [{'claim': 'films', 'mount': '/data'}, {'claim': 'served', 'mount': '/served'}]
    parameters = config.kubeflow.model_validate({'image': 'test:1', 'volumes': volumes})
    spec, platform = kubeflow_spec.documents(pipeline, parameters)
    seen: list[dict[str, Path]] = []

    class Looking(Scripted):
        def run(self, pod: Pod) -> int:
            pod.log.write_text('')
            seen.append(
                {
                    path: folder
                    for path, folder in pod.folders.items()
                    if path in ('/data', '/served')
                }
            )
            return 0

    claims = {name: tmp_path / name for name in ('films', 'served')}
    for folder in claims.values():
        folder.mkdir()
    Cluster(tmp_path / 'cluster', Looking(), claims).submit((spec, platform), ROOT)
    assert seen == [{'/data': claims['films'], '/served': claims['served']}] * 12
