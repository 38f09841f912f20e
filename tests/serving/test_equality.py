"""The benchmark that compares the answers of all parts of the system."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.serving import equality, versions
from tests.support import gateways, model_servers


@pytest.mark.slow
@pytest.mark.parametrize('kind', model_servers.KINDS)
def test_all_parts_answer_alike(pushed: Path, tmp_path: Path, kind: str) -> None:
    root = versions.from_root(pushed.parent, tmp_path / 'root')
    contents = [gateways.jpeg(patient) for patient in (1, 2, 3)]
    figures = equality.compare(
        root,
        tmp_path / 'service',
        contents,
        tf_serving_program=model_servers.REAL if kind == 'real' else '',
    )
    other_decoder = figures.pop(equality.OTHER_DECODER)
    assert len(figures) == 4
    assert all(row['assessed'] == len(contents) for row in figures.values()), figures
    assert all(row['difference'] <= equality.GOAL for row in figures.values()), figures
    # The comparison sees a difference where there is one.
    assert other_decoder['difference'] > equality.GOAL
