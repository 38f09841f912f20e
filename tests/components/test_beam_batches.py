"""Batches are cut by bytes, however fast a step is."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that
from tfx_bsl.coders import batch_util

from components import beam_batches

_RECORD = 1 << 20
_LIMIT = 20 << 20


@pytest.mark.parametrize('count', [1, 20, 50])
def test_batches_are_as_large_as_the_limit(count: int) -> None:
    beam_batches.bound()

    def check(batches: list[list[bytes]]) -> None:
        sizes = sorted(sum(map(len, batch)) for batch in batches)
        assert sum(sizes) == count * _RECORD
        # Beam, left to itself, begins with one record and goes up to a thousand.
        assert len(sizes) == -(-count * _RECORD // _LIMIT)
        assert max(sizes) <= _LIMIT

    with beam.Pipeline(runner='FnApiRunner') as pipeline:
        records = pipeline | beam.Create([bytes(_RECORD)] * count, reshuffle=False)
        assert_that(records | batch_util.BatchRecords(None, None), check)
