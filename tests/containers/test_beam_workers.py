"""The steps up to Transform with Beam workers in containers, compared with one process.

Beam's portable runner starts the worker image as Dataflow does. The jobs are submitted from the
CPU image, since Beam needs the same versions of itself and of Python on both sides.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.images.engine import Engine
from tests.support.comparison import plain

pytestmark = pytest.mark.slow

_PROJECT = Path(__file__).resolve().parents[2]
_LABEL = 'cxr-triage.workers-of'
DIRECT, WORKERS, SETUP_FILE = 'direct', 'workers', 'setup-file'
# Beam gives its containers no volumes. This client adds the volumes, in place of Dataflow's bucket,
# and withholds the package index.
_CLIENT = """#!/bin/sh
case "$1" in
  pull) exit 1 ;; # the image exists only here
  run) shift && set -- run --env PIP_NO_INDEX=1 {options} "$@" ;;
esac
exec /opt/engine/docker "$@"
"""


class Place:
    """The data root, the outputs, and the engine that a submitting container uses."""

    def __init__(self, docker: Engine, image: str, data_root: Path, folder: Path):
        self.docker, self.folder = docker, folder / 'out'
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self._image, self._scratch = image, folder
        # File by file, since they may be links into a folder that only root may enter.
        files = (
            Path(parent, name)
            for parent, _, names in os.walk(data_root, followlinks=True)
            for name in names
        )
        self._volumes = [
            f'{path.resolve()}:/images/{path.relative_to(data_root)}:ro' for path in files
        ] + [f'{self.folder}:/out']

    def run(self, module: str, *arguments: str, workers: str | None = None) -> None:
        """Runs a module of the tests in the image.

        Args:
          module: its name.
          arguments: its arguments.
          workers: the label of the worker containers that the module may start; None for no access
            to the engine.
        """
        volumes = [*self._volumes, f'{_PROJECT / "tests"}:/opt/cxr-triage/tests:ro']
        options = ['--network', 'none']
        if workers:
            socket = Path(
                self.docker.environment.get(
                    'DOCKER_HOST', 'unix:///var/run/docker.sock'
                ).removeprefix('unix://')
            )
            volumes += [
                f'{socket}:/var/run/docker.sock',
                f'{Path(self.docker.docker).resolve()}:/opt/engine/docker:ro',
            ]
            volumes += [f'{self._client(workers)}:/usr/local/bin/docker:ro']
            options = ['--network', 'host', '--group-add', str(socket.stat().st_gid)]
        options += [option for volume in volumes for option in ('--volume', volume)]
        command = (
            'run',
            '--rm',
            *options,
            '--entrypoint',
            'python',
            self._image,
            '-m',
            module,
            *arguments,
        )
        result = self.docker.run(
            *command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert result.returncode == 0, result.stdout[-8000:] + self._worker_logs(workers)

    def _worker_logs(self, workers: str | None) -> str:
        """The end of each worker's log; Beam reports that a worker is gone, but not why."""
        containers = self.workers(workers) if workers else []
        command = ('logs', '--tail', '20')
        results = [
            self.docker.run(
                *command, worker['Id'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            for worker in containers
        ]
        return ''.join(f'\nthe end of a worker log:\n{result.stdout}' for result in results)

    def _client(self, workers: str) -> Path:
        options = [
            '--label',
            f'{_LABEL}={workers}',
            *(option for volume in self._volumes for option in ('--volume', volume)),
        ]
        client = self._scratch / f'docker-for-{workers}'
        client.write_text(_CLIENT.format(options=' '.join(options)))
        client.chmod(0o755)
        return client

    def workers(self, label: str) -> list[dict[str, Any]]:
        """The engine's descriptions of the containers with this label."""
        result = self.docker.run(
            'ps',
            '--all',
            '--quiet',
            '--filter',
            f'label={_LABEL}={label}',
            capture_output=True,
            text=True,
        )
        names = result.stdout.split()
        return (
            json.loads(self.docker.run('inspect', *names, capture_output=True, text=True).stdout)
            if names
            else []
        )

    def remove_workers(self) -> None:
        """Removes the containers of all jobs."""
        for label in (WORKERS, SETUP_FILE):
            for container in self.workers(label):
                self.docker.run('rm', '--force', container['Id'], capture_output=True)


@pytest.fixture(scope='module')
def place(
    docker: Engine, image: str, data_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """An empty folder for all jobs; their containers are removed at the end."""
    place = Place(docker, image, data_root, tmp_path_factory.mktemp('beam'))
    # A test run that was killed leaves its containers.
    place.remove_workers()
    yield place
    place.remove_workers()


@pytest.fixture(scope='module')
def arguments(beam_image: str) -> list[str]:
    """The Beam arguments that start workers from their image."""
    return [
        '--runner=PortableRunner',
        '--job_endpoint=embed',
        '--environment_type=DOCKER',
        f'--environment_config={beam_image}',
    ]


@pytest.fixture(scope='module')
def facts(place: Place, arguments: list[str], beam_image: str) -> dict[str, dict[str, Any]]:
    """The facts of the steps in one process and with workers in containers."""
    # The image contains the whole project, as for `beam.dataflow.image`.
    engines = {
        DIRECT: ['--runner=FnApiRunner'],
        WORKERS: [*arguments, f'--sdk_container_image={beam_image}'],
    }
    results = {}
    for engine, beam in engines.items():
        settings = f'beam.args={json.dumps(beam)}'
        label = WORKERS if engine == WORKERS else None
        place.run(
            'tests.support.run_artifacts',
            'prepare',
            '/images',
            f'/out/{engine}',
            settings,
            workers=label,
        )
        results[engine] = json.loads((place.folder / engine / 'facts.json').read_text())
    return results


def test_boot_started_a_container_for_each_job(facts: dict, place: Place, beam_image: str) -> None:
    workers = place.workers(WORKERS)
    # One for each of XrayExampleGen, StatisticsGen, DataAudit and Transform.
    assert len(workers) == 4
    for worker in workers:
        assert (worker['Path'], worker['Config']['Image'], worker['Config']['User']) == (
            '/opt/apache/beam/boot',
            beam_image,
            '10001:10001',
        )


def test_records_and_splits_are_equal(facts: dict) -> None:
    assert sum(map(len, facts[DIRECT]['records'].values())) == 244
    assert facts[WORKERS]['records'] == facts[DIRECT]['records']


def test_statistics_and_audits_are_equal(facts: dict) -> None:
    assert all(
        split['datasets'][0]['numExamples'] != '0' for split in facts[DIRECT]['statistics'].values()
    )
    assert facts[DIRECT]['audit']
    for name in ('statistics', 'audit'):
        assert plain(facts[WORKERS][name]) == plain(facts[DIRECT][name])


def test_transformed_images_are_equal(facts: dict) -> None:
    assert all(facts[DIRECT]['pixels'].values())
    assert facts[WORKERS]['pixels'] == facts[DIRECT]['pixels']


def test_workers_install_the_project_of_a_job_without_an_index_and_use_it(
    place: Place, arguments: list[str]
) -> None:
    # A user without write permission for the project's folder packs it, and a user other than root
    # installs it.
    place.run(
        'tests.support.setup_file_pipeline', f'/out/{SETUP_FILE}', *arguments, workers=SETUP_FILE
    )
    reports = [json.loads(line) for line in (place.folder / SETUP_FILE).read_text().splitlines()]
    assert [report['records'] for report in reports] == [report['items'] for report in reports]
    assert sum(report['records'] for report in reports) == 244
    assert {report['code'] for report in reports} == {
        '/opt/venv/lib/python3.11/site-packages/records/tfrecord.py'
    }
