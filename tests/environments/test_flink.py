"""On a Flink cluster of two hosts, one of which is lost half way, the Beam steps give what they
give in one process.

Needs root, Java and Maven; `.ci/run` sees to them and sets CXR_REQUIRE_FLINK, with which the
absence of any is a failure.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.beam_parameters import BeamParameters
from tests.support.comparison import plain
from tests.support.environment_runs import PATIENCE_S, Direct, start
from tests.support.flink import cluster as flink
from tests.support.flink import jars

pytestmark = pytest.mark.slow

_PROJECT = Path(__file__).resolve().parents[2]
_JOB = 3  # XrayExampleGen, StatisticsGen and DataAudit come before: it is Transform's first
DIRECT, ON_FLINK = 'direct', 'flink'


def test_flink_listens_on_the_network_of_the_cluster_only(cluster: flink.Cluster) -> None:
    for port in (flink.REST_PORT, 6123, flink.JOB_PORT):
        with socket.create_connection((flink.ADDRESS, port), timeout=10):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(('127.0.0.1', port), timeout=10)


@pytest.fixture(scope='module')
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flink.Cluster]:
    """Two hosts of two slots."""
    try:
        with flink.cluster(
            jars.fetch(_PROJECT / '.tools'), tmp_path_factory.mktemp('flink-logs')
        ) as running:
            yield running
    except jars.FlinkError as error:
        assert 'CXR_REQUIRE_FLINK' not in os.environ, str(error)
        pytest.skip(str(error))


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run on Flink puts what it makes."""
    return tmp_path_factory.mktemp('flink')


@pytest.fixture(scope='module')
def lost(
    cluster: flink.Cluster, films: Path, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the run on Flink gave, and what Flink tells of the job in which a host was lost."""
    running = start('make', films, folder, *cluster.settings())
    deadline = time.monotonic() + PATIENCE_S
    while True:
        jobs = cluster.jobs()
        if (
            len(jobs) > _JOB
            and jobs[_JOB]['state'] == 'RUNNING'
            and jobs[_JOB]['tasks']['running'] >= cluster.parallelism
        ):
            break
        assert running.process.poll() is None, (
            f'ended before its time:\n{running.process.communicate()[0][-5000:]}'
        )
        assert time.monotonic() < deadline, jobs
        time.sleep(0.2)
    cluster.kill(1)
    return running.facts(), cluster.job(jobs[_JOB]['jid'])


@pytest.fixture(scope='module')
def made(lost: tuple[dict, dict], direct: Direct) -> dict[str, dict[str, Any]]:
    """What each engine makes of the films."""
    return {ON_FLINK: lost[0], DIRECT: direct.made}


def test_the_job_outlived_the_loss_of_a_host(
    lost: tuple[dict, dict], cluster: flink.Cluster
) -> None:
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
    assert all(
        split['datasets'][0]['numExamples'] != '0' for split in made[DIRECT]['statistics'].values()
    )
    assert plain(made[ON_FLINK]['statistics']) == plain(made[DIRECT]['statistics'])


def test_transformed_images_are_equal(made: dict) -> None:
    assert made[DIRECT]['pixels']
    assert made[ON_FLINK]['pixels'] == made[DIRECT]['pixels']


def test_the_audit_finds_the_same(made: dict) -> None:
    assert made[DIRECT]['audit']
    assert plain(made[ON_FLINK]['audit']) == plain(made[DIRECT]['audit'])


def test_evaluator_and_transform_graph_give_the_same(
    lost: tuple, folder: Path, direct: Direct, cluster: flink.Cluster, tmp_path: Path
) -> None:
    address = {
        'job_server': f'{flink.ADDRESS}:{flink.JOB_PORT}',
        'workers': f'localhost:{flink.WORKER_PORT}',
        'parallelism': 2,
    }
    beam = BeamParameters.model_validate({'engine': 'flink', 'flink': address}).arguments(None)
    # The graph and the model that the run on Flink made: evaluated there, and here.
    judged = {
        engine: start('judge', folder, tmp_path / engine, *options).facts()
        for engine, options in ((ON_FLINK, beam), (DIRECT, ()))
    }
    assert len(judged[DIRECT]['metrics']) > 20
    # Probabilities are float32, and their last digits depend on the batches that Beam happens to
    # make.
    assert judged[ON_FLINK]['metrics'] == pytest.approx(
        judged[DIRECT]['metrics'], rel=1e-6, nan_ok=True
    )
    assert judged[ON_FLINK]['blessed'] == judged[DIRECT]['blessed']
    # The graph that the run in one process made.
    assert sorted(judged[DIRECT]['pixels']) == sorted(direct.judged['pixels'])
