"""Fixtures of the pipeline tests."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest


@pytest.fixture(scope='module')
def cached_digests() -> Iterator[None]:
    """Computes each code digest once: the code does not change during the tests of a module."""
    # Not at the top: the tests of configurations do not need TFX.
    from pipeline import create_pipeline

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(create_pipeline, 'digest', functools.cache(create_pipeline.digest))
        yield
