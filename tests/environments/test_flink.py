"""The Beam steps on a Flink cluster that loses one of its two hosts, compared with one process.

The tests need root, Java and Maven. `.ci/run` installs them and sets CXR_REQUIRE_FLINK, which turns
a skip into a failure.
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
_JOB = 3  # the first job of Transform, after XrayExampleGen, StatisticsGen and DataAudit
DIRECT, ON_FLINK = 'direct', 'flink'


def test_flink_listens_only_on_the_network_of_the_cluster(cluster: flink.Cluster) -> None:
    for port in (flink.REST_PORT, 6123, flink.JOB_PORT):
        with socket.create_connection((flink.ADDRESS, port), timeout=10):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(('127.0.0.1', port), timeout=10)


@pytest.fixture(scope='module')
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flink.Cluster]:
    """Two hosts with two slots each."""
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
    """The folder for the outputs of the run on Flink."""
    return tmp_path_factory.mktemp('flink')


@pytest.fixture(scope='module')
def interrupted(
    cluster: flink.Cluster, data_root: Path, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of the run on Flink, and Flink's description of the job that lost a host."""
    running = start('make', data_root, folder, *cluster.settings())
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
            f'the run ended too early:\n{running.process.communicate()[0][-5000:]}'
        )
        assert time.monotonic() < deadline, jobs
        time.sleep(0.2)
    cluster.kill(1)
    return running.facts(), cluster.job(jobs[_JOB]['jid'])


@pytest.fixture(scope='module')
def facts(interrupted: tuple[dict, dict], direct: Direct) -> dict[str, dict[str, Any]]:
    """The facts of the run on each engine."""
    return {ON_FLINK: interrupted[0], DIRECT: direct.run_facts}


def test_a_job_survives_the_loss_of_a_host(
    interrupted: tuple[dict, dict], cluster: flink.Cluster
) -> None:
    _, job = interrupted
    assert job['timestamps']['RESTARTING'] > 0, 'the host was lost while the job did not run'
    assert job['state'] == 'FINISHED'
    assert {job['state'] for job in cluster.jobs()} == {'FINISHED'}
    # One job for each Beam step.
    assert len(cluster.jobs()) == 5


def test_records_and_splits_are_equal(facts: dict) -> None:
    assert all(facts[DIRECT]['records'].values())
    assert facts[ON_FLINK]['records'] == facts[DIRECT]['records']


def test_statistics_are_equal(facts: dict) -> None:
    assert all(
        split['datasets'][0]['numExamples'] != '0' for split in facts[DIRECT]['statistics'].values()
    )
    assert plain(facts[ON_FLINK]['statistics']) == plain(facts[DIRECT]['statistics'])


def test_transformed_images_are_equal(facts: dict) -> None:
    assert facts[DIRECT]['pixels']
    assert facts[ON_FLINK]['pixels'] == facts[DIRECT]['pixels']


def test_audits_are_equal(facts: dict) -> None:
    assert facts[DIRECT]['audit']
    assert plain(facts[ON_FLINK]['audit']) == plain(facts[DIRECT]['audit'])


def test_evaluations_are_equal(
    interrupted: tuple, folder: Path, direct: Direct, cluster: flink.Cluster, tmp_path: Path
) -> None:
    address = {
        'job_server': f'{flink.ADDRESS}:{flink.JOB_PORT}',
        'workers': f'localhost:{flink.WORKER_PORT}',
        'parallelism': 2,
    }
    beam = BeamParameters.model_validate({'engine': 'flink', 'flink': address}).arguments(None)
    # The graph and the model of the run on Flink, evaluated on Flink and in one process.
    evaluations = {
        engine: start('judge', folder, tmp_path / engine, *options).facts()
        for engine, options in ((ON_FLINK, beam), (DIRECT, ()))
    }
    assert len(evaluations[DIRECT]['metrics']) > 20
    # Probabilities are float32; their last digits depend on how Beam forms batches.
    assert evaluations[ON_FLINK]['metrics'] == pytest.approx(
        evaluations[DIRECT]['metrics'], rel=1e-6, nan_ok=True
    )
    assert evaluations[ON_FLINK]['blessed'] == evaluations[DIRECT]['blessed']
    # The graph of the run in one process transforms the images in the same way.
    assert sorted(evaluations[DIRECT]['pixels']) == sorted(direct.evaluation_facts['pixels'])
