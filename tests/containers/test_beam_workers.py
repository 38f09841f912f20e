"""Beam's portable runner starts the image of workers as Dataflow does, and the steps before the
training give what they give without it.

What submits the jobs runs in the image of the steps: Beam wants one version of itself and of Python
on both sides.
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
DIRECT, WORKERS, BROUGHT = 'direct', 'workers', 'brought'
# Beam gives its containers no volumes: where Dataflow's workers have a bucket, these have folders.
# Nor have they a package index.
_CLIENT = """#!/bin/sh
case "$1" in
  pull) exit 1 ;; # the image is here, and nowhere else
  run) shift && set -- run --env PIP_NO_INDEX=1 {options} "$@" ;;
esac
exec /opt/engine/docker "$@"
"""


class Place:
    """The films, what is made of them, and the engine that a submitting container can reach."""

    def __init__(self, docker: Engine, image: str, films: Path, folder: Path):
        self.docker, self.folder = docker, folder / 'out'
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self._image, self._scratch = image, folder
        # File by file, since they may be links into a folder that only root may enter.
        files = (
            Path(at, name) for at, _, names in os.walk(films, followlinks=True) for name in names
        )
        self._volumes = [
            f'{path.resolve()}:/films/{path.relative_to(films)}:ro' for path in files
        ] + [f'{self.folder}:/out']

    def run(self, module: str, *arguments: str, workers: str | None = None) -> None:
        """Runs a module of the tests in the image, with the engine at hand to start workers that
        bear the label `workers`.
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
        done = self.docker.run(
            *command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, done.stdout[-8000:] + self._last_words(workers)

    def _last_words(self, workers: str | None) -> str:
        """What each worker said at last; Beam tells that one is gone, not why."""
        containers = self.workers(workers) if workers else []
        logs = ('logs', '--tail', '20')
        said = [
            self.docker.run(
                *logs, each['Id'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            for each in containers
        ]
        return ''.join(f'\na worker at last:\n{done.stdout}' for done in said)

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
        """What the engine tells of the containers with this label."""
        found = self.docker.run(
            'ps',
            '--all',
            '--quiet',
            '--filter',
            f'label={_LABEL}={label}',
            capture_output=True,
            text=True,
        )
        names = found.stdout.split()
        return (
            json.loads(self.docker.run('inspect', *names, capture_output=True, text=True).stdout)
            if names
            else []
        )


@pytest.fixture(scope='module')
def place(
    docker: Engine, image: str, films: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """An empty folder for all jobs; their containers go with it."""
    place = Place(docker, image, films, tmp_path_factory.mktemp('beam'))
    yield place
    for label in (WORKERS, BROUGHT):
        for container in place.workers(label):
            docker.run('rm', '--force', container['Id'], capture_output=True)


@pytest.fixture(scope='module')
def arguments(beam_image: str) -> list[str]:
    """How Beam is told to start the image of workers."""
    return [
        '--runner=PortableRunner',
        '--job_endpoint=embed',
        '--environment_type=DOCKER',
        f'--environment_config={beam_image}',
    ]


@pytest.fixture(scope='module')
def made(place: Place, arguments: list[str], beam_image: str) -> dict[str, dict[str, Any]]:
    """What the steps give in one process, and with workers in containers."""
    # All of the project is in the image, as it is for `beam.dataflow.image`.
    engines = {
        DIRECT: ['--runner=FnApiRunner'],
        WORKERS: [*arguments, f'--sdk_container_image={beam_image}'],
    }
    facts = {}
    for engine, beam in engines.items():
        settings = f'beam.args={json.dumps(beam)}'
        label = WORKERS if engine == WORKERS else None
        place.run(
            'tests.support.run_artifacts',
            'prepare',
            '/films',
            f'/out/{engine}',
            settings,
            workers=label,
        )
        facts[engine] = json.loads((place.folder / engine / 'facts.json').read_text())
    return facts


def test_each_job_had_a_container_that_boot_started(
    made: dict, place: Place, beam_image: str
) -> None:
    workers = place.workers(WORKERS)
    # XrayExampleGen, StatisticsGen, DataAudit, Transform.
    assert len(workers) == 4
    for worker in workers:
        assert (worker['Path'], worker['Config']['Image'], worker['Config']['User']) == (
            '/opt/apache/beam/boot',
            beam_image,
            '10001:10001',
        )


def test_the_same_records_are_in_the_same_splits(made: dict) -> None:
    assert sum(map(len, made[DIRECT]['records'].values())) == 244
    assert made[WORKERS]['records'] == made[DIRECT]['records']


def test_statistics_and_audit_are_equal(made: dict) -> None:
    assert all(
        split['datasets'][0]['numExamples'] != '0' for split in made[DIRECT]['statistics'].values()
    )
    assert made[DIRECT]['audit']
    for what in ('statistics', 'audit'):
        assert plain(made[WORKERS][what]) == plain(made[DIRECT][what])


def test_transformed_images_are_equal(made: dict) -> None:
    assert all(made[DIRECT]['pixels'].values())
    assert made[WORKERS]['pixels'] == made[DIRECT]['pixels']


def test_what_a_job_brings_along_is_installed_without_an_index_and_wins(
    place: Place, arguments: list[str]
) -> None:
    # Packed by a user who may not write to the project's folder, installed by one who is not root.
    place.run('tests.support.setup_file_pipeline', f'/out/{BROUGHT}', *arguments, workers=BROUGHT)
    answers = [json.loads(line) for line in (place.folder / BROUGHT).read_text().splitlines()]
    assert [answer['records'] for answer in answers] == [answer['of'] for answer in answers]
    assert sum(answer['records'] for answer in answers) == 244
    assert {answer['code'] for answer in answers} == {
        '/opt/venv/lib/python3.11/site-packages/records/tfrecord.py'
    }
