"""Load, kills and many studies: the benchmarks of the service in a short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.serving import kills, latency, load, outages, throughput, versions, work_list
from tests.support import gateways

pytestmark = pytest.mark.slow

_IMAGES = [gateways.jpeg(patient) for patient in (1, 2, 3)]


@pytest.fixture
def root(pushed: Path, tmp_path: Path) -> Path:
    """A run root with two versions, to change."""
    return versions.from_root(pushed.parent, tmp_path / 'root')


def test_a_promotion_and_a_rollback_under_load_cost_no_answer(root: Path, tmp_path: Path) -> None:
    figures = throughput.measure(root, tmp_path / 'service', _IMAGES, seconds=20)
    assert figures['errors'] == []
    assert figures['releases'] == ['promote', 'rollback']
    assert set(figures['versions']) == {'1', '2'}
    assert sum(figures['versions'].values()) == figures['studies']
    assert figures['gateway'] > 0


def test_killed_processes_lose_nothing(root: Path, tmp_path: Path, database_url: str) -> None:
    result = kills.run(root, tmp_path / 'service', _IMAGES, 2, database_url)
    assert result.problems == []
    assert result.kills == {'gateway': 2, 'model server': 2}
    assert result.accepted > 10


def test_a_lost_study_is_noticed(root: Path, tmp_path: Path) -> None:
    kills.run(root, tmp_path / 'service', _IMAGES, count=0)
    problems = load.compare(tmp_path / 'service', {'0' * 32: b''})
    assert problems == [f'study {"0" * 32} is lost']


@pytest.mark.parametrize('name', [pytest.param('model-server', marks=pytest.mark.long), 'slow'])
def test_an_outage_of_the_model_server_loses_nothing(root: Path, tmp_path: Path, name: str) -> None:
    """Of disk and database, test_serve_command.py has tests."""
    outage = outages.run(name, root, tmp_path / 'service', _IMAGES, 5)
    assert outage.problems == []
    assert set(outage.uploads) == {202}


def test_latency_has_all_ways(root: Path, tmp_path: Path) -> None:
    figures = latency.measure(root, tmp_path / 'service', _IMAGES, count=5)
    assert set(figures) == {
        latency.IN_PROCESS,
        latency.SERVER,
        latency.ACCEPTED,
        latency.SENT,
    }
    assert all(0 < row['p50'] <= row['p99'] for row in figures.values())


def test_all_pages_of_a_long_work_list_are_timed(database_url: str, tmp_path: Path) -> None:
    figures = work_list.measure(tmp_path, 5_000, database_url)
    assert len(figures) > 15
    assert all(seconds > 0 for seconds in figures.values())
