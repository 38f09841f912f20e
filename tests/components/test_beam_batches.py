"""Batches are limited by bytes, and Beam gets the size of a batch without encoding it."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners import pipeline_context
from apache_beam.testing.util import assert_that
from tfx_bsl.coders import batch_util

from components import beam_batches

_RECORD = 1 << 18
_LIMIT = beam_batches.BATCH_BYTES


@pytest.mark.parametrize('count', [1, 16, 50])
def test_batches_are_as_large_as_the_limit(count: int) -> None:
    beam_batches.prepare()

    def check(batches: list[list[bytes]]) -> None:
        sizes = sorted(sum(map(len, batch)) for batch in batches)
        assert sum(sizes) == count * _RECORD
        # Without the limit, Beam starts with batches of one record and grows them to a thousand.
        assert len(sizes) == -(-count * _RECORD // _LIMIT)
        assert max(sizes) <= _LIMIT

    with beam.Pipeline(runner='FnApiRunner') as pipeline:
        records = pipeline | beam.Create([bytes(_RECORD)] * count, reshuffle=False)
        assert_that(records | batch_util.BatchRecords(None, None), check)


def test_the_coder_decodes_what_it_encodes_and_estimates_the_size() -> None:
    beam_batches.prepare()
    coder = beam.coders.registry.get_coder(pa.RecordBatch)
    batch = pa.RecordBatch.from_pydict({'image': [[b'1234'], [b'56']], 'age': [[50], [60]]})
    assert coder.decode(coder.encode(batch)).equals(batch)
    assert coder.estimate_size(batch) == batch.nbytes
    assert isinstance(coder, beam_batches.RecordBatchCoder)
    # Remote workers get the coder through Beam's runner API.
    copy = beam.coders.Coder.from_runner_api(
        coder.to_runner_api(context := pipeline_context.PipelineContext()), context
    )
    assert copy.decode(copy.encode(batch)).equals(batch)
