"""The layout of a run root, on a local disk and on an object store."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.run_root import RunRoot

_NAMES = (
    *('artifacts', 'store', 'backups', 'logs', 'records', 'pages', 'pictures', 'serving'),
    *('checkpoints', 'lock', 'lock_owner'),
)


@pytest.mark.parametrize('name', _NAMES)
def test_a_path_has_the_type_of_its_root(name: str) -> None:
    folder = RunRoot(Path('/runs/demo'))
    text = RunRoot('/runs/demo')
    assert getattr(folder, name) == Path(getattr(text, name))
    assert isinstance(getattr(text, name), str)


def test_the_url_of_an_object_store_is_kept() -> None:
    assert RunRoot('gs://bucket/runs').artifacts == 'gs://bucket/runs/artifacts'


def test_all_paths_are_different() -> None:
    assert len({getattr(RunRoot('/r'), name) for name in _NAMES}) == len(_NAMES)
