"""The exchange with an archive under load, kills, an outage and fuzzing, in short."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.serving import exchange, versions
from tests.support import archives, gateways

pytestmark = pytest.mark.slow


def test_nothing_acknowledged_is_lost_and_each_study_is_reported_once(
    pushed: Path, tmp_path: Path
) -> None:
    archives.require()
    root = versions.from_root(pushed.parent, tmp_path / 'root')
    contents = [gateways.jpeg(1), gateways.jpeg(2)]
    counts = exchange.Counts(latency=5, associations=50, kills=2, down_s=3.0, fuzz=60)
    result = exchange.run(root, tmp_path / 'service', contents, counts)
    assert result.problems == []
    assert len(result.acknowledged) >= 5 + 100 + 2
    assert 0 < result.accept_ms <= result.report_ms
    assert sum(result.fuzz.values()) == 60
