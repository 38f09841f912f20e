"""What our Evaluator does otherwise than TFX's: the films of one split are not flattened."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from tfx.components.evaluator import executor as tfx_executor

from components.evaluator import executor


@pytest.mark.parametrize('splits', [1, 2, 3])
def test_all_splits_are_read_and_one_alone_is_not_flattened(splits: int) -> None:
    with beam.Pipeline(runner='FnApiRunner') as pipeline:
        collections = [pipeline | f'Read{number}' >> beam.Create([number, 10 + number]) for number in range(splits)]
        together = collections | 'FlattenExamples' >> executor._Beam().Flatten()
        assert_that(together, equal_to([value for number in range(splits) for value in (number, 10 + number)]))
        steps = pipeline.to_runner_api().components.transforms.values()
        assert any('FlattenExamples' in step.unique_name and step.spec.urn == 'beam:transform:flatten:v1' for step in steps) is (splits > 1)


def test_the_rest_of_beam_is_as_tfx_has_it() -> None:
    assert executor._Beam().io is beam.io
    assert tfx_executor.beam is beam
