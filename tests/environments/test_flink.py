"""On a Flink cluster of two hosts, one of which is lost half way, the Beam steps give what they give in one process.

Needs root, Java and Maven; `.ci/run` sees to them and sets CXR_REQUIRE_FLINK, with which the absence of any is a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.beam_parameters import BeamParameters
from scripts.flink import cluster as flink
from scripts.flink import jars
from tests.environments.comparing import plain

pytestmark = pytest.mark.slow

_PROJECT = Path(__file__).resolve().parents[2]
_JOB = 3  # XrayExampleGen, StatisticsGen and DataAudit come before: it is Transform's first
_PATIENCE_S = 1200.0
DIRECT, ON_FLINK = 'direct', 'flink'


@pytest.fixture(scope='module')
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flink.Cluster]:
    """Two hosts of two slots."""
    try:
        with flink.cluster(jars.fetch(_PROJECT / '.tools'), tmp_path_factory.mktemp('flink-logs')) as running:
            yield running
    except jars.FlinkError as error:
        assert 'CXR_REQUIRE_FLINK' not in os.environ, str(error)
        pytest.skip(str(error))


def _leavings(*arguments: str | Path) -> subprocess.Popen:
    command = [sys.executable, '-m', 'tests.environments.leavings', *map(str, arguments)]
    return subprocess.Popen(command, cwd=_PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _facts(process: subprocess.Popen, folder: Path) -> dict[str, Any]:
    said, _ = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0, said[-5000:]
    return json.loads((folder / 'facts.json').read_text())


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where each engine puts what it makes."""
    return {engine: tmp_path_factory.mktemp(engine) for engine in (DIRECT, ON_FLINK)}


@pytest.fixture(scope='module')
def lost(cluster: flink.Cluster, films: Path, folders: dict[str, Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the run on Flink gave, and what Flink tells of the job in which a host was lost."""
    running = _leavings('make', films, folders[ON_FLINK], *cluster.settings())
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        jobs = cluster.jobs()
        if len(jobs) > _JOB and jobs[_JOB]['state'] == 'RUNNING' and jobs[_JOB]['tasks']['running'] >= cluster.parallelism:
            break
        assert running.poll() is None, f'ended before its time:\n{running.communicate()[0][-5000:]}'
        assert time.monotonic() < deadline, jobs
        time.sleep(0.2)
    cluster.kill(1)
    return _facts(running, folders[ON_FLINK]), cluster.job(jobs[_JOB]['jid'])


@pytest.fixture(scope='module')
def made(lost: tuple[dict, dict], films: Path, folders: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """What each engine makes of the films."""
    return {ON_FLINK: lost[0], DIRECT: _facts(_leavings('make', films, folders[DIRECT]), folders[DIRECT])}


def test_the_job_outlived_the_loss_of_a_host(lost: tuple[dict, dict], cluster: flink.Cluster) -> None:
    _, job = lost
    assert job['timestamps']['RESTARTING'] > 0, 'the host was lost too early or too late to matter'
    assert job['state'] == 'FINISHED'
    assert {each['state'] for each in cluster.jobs()} == {'FINISHED'}
    # One for each Beam step.
    assert len(cluster.jobs()) == 5


def test_the_same_records_are_in_the_same_splits(made: dict) -> None:
    assert all(made[DIRECT]['records'].values())
    assert made[ON_FLINK]['records'] == made[DIRECT]['records']


def test_statistics_are_equal(made: dict) -> None:
    assert all(split['datasets'][0]['numExamples'] != '0' for split in made[DIRECT]['statistics'].values())
    assert plain(made[ON_FLINK]['statistics']) == plain(made[DIRECT]['statistics'])


def test_transformed_images_are_equal(made: dict) -> None:
    assert made[DIRECT]['pixels']
    assert made[ON_FLINK]['pixels'] == made[DIRECT]['pixels']


def test_the_audit_finds_the_same(made: dict) -> None:
    assert made[DIRECT]['audit']
    assert plain(made[ON_FLINK]['audit']) == plain(made[DIRECT]['audit'])


def test_evaluator_and_transform_graph_give_the_same(made: dict, folders: dict[str, Path], cluster: flink.Cluster, tmp_path: Path) -> None:
    address = {'job_server': f'{flink.ADDRESS}:{flink.JOB_PORT}', 'workers': f'localhost:{flink.WORKER_PORT}', 'parallelism': 2}
    beam = BeamParameters.model_validate({'engine': 'flink', 'flink': address}).arguments(None)
    # The graph and the model that the run on Flink made: evaluated there, and here.
    judged = {
        engine: _facts(_leavings('judge', folders[ON_FLINK], tmp_path / engine, *args), tmp_path / engine)
        for engine, args in ((ON_FLINK, beam), (DIRECT, ()))
    }
    other = _facts(_leavings('judge', folders[DIRECT], tmp_path / 'graph'), tmp_path / 'graph')
    assert len(judged[DIRECT]['metrics']) > 20
    # Probabilities are float32, and their last digits depend on the batches that Beam happens to make.
    assert judged[ON_FLINK]['metrics'] == pytest.approx(judged[DIRECT]['metrics'], rel=1e-6, nan_ok=True)
    assert judged[ON_FLINK]['blessed'] == judged[DIRECT]['blessed']
    assert sorted(judged[DIRECT]['pixels']) == sorted(other['pixels'])
