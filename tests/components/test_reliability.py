"""The bins of a reliability plot: their values, and how they are read from TFMA's metrics."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow_model_analysis.proto import metrics_for_slice_pb2
from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as writer

from components.evaluator import reliability, results, shares
from schemas.signatures import PROBABILITY


def test_bins_have_the_expected_values() -> None:
    probability = np.array([0.0, 0.05, 0.31, 0.33, 0.35, 0.38, 1.0, 0.95], np.float32)
    label = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    patient = np.array(list('aabbccde'))
    bins = reliability.bins(probability, label, patient, 0.9)
    assert bins.shape == (reliability.BINS, len(reliability.COLUMNS))
    assert bins[:, 0].tolist() == [2, 0, 0, 4, 0, 0, 0, 0, 0, 2]
    assert bins[3, 1:3] == pytest.approx([0.3425, 0.5])
    assert bins[[0, 9], 1] == pytest.approx([0.025, 0.975])
    # One patient with two images; two patients whose images agree; two patients.
    for index, share, number in ((0, 0.0, 1), (3, 0.5, 1), (9, 1.0, 2)):
        assert bins[index, 2:] == pytest.approx([share, *shares.wilson(share, number, 0.9)]), index
    assert np.isnan(bins[1, 1:]).all()


def test_bins_are_read_back_from_tfmas_metrics() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(200)
    table = reliability.bins(probability, rng.random(200) < probability, np.arange(200) // 2, 0.95)
    # Two bins without images.
    table[[2, 7], 0], table[[2, 7], 1:] = 0, np.nan
    key = reliability.key('', PROBABILITY)
    proto: metrics_for_slice_pb2.MetricsForSlice = writer.convert_slice_metrics_to_proto(
        ((), {key: table}), add_metrics_callbacks=None
    )
    result = results.Slice(())
    results.add_metrics(result, proto.metric_keys_and_values)
    bins = result.reliability[results.CANDIDATE, PROBABILITY]
    assert len(bins) == reliability.BINS - 2
    assert [
        (row.images, row.mean_probability, row.share, row.lower, row.upper) for row in bins
    ] == [pytest.approx(tuple(row)) for row in table if row[0]]
    assert not result.values
