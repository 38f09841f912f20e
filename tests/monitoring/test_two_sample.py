"""The test of a window of traffic against a reference."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from monitoring import two_sample
from monitoring.sample import NOT_ASSESSED, PATTERN, PROBABILITY
from schemas.signatures import EMBEDDING
from tests.monitoring.samples import sample


def test_equal_populations_rarely_differ():
    """Images of a patient are alike; a test that ignored that would alarm in most draws."""
    p_values = [
        two_sample.compare(
            sample(80, seed, per_group=2), sample(60, 1000 + seed, per_group=2), 59
        ).p_value
        for seed in range(200)
    ]
    # 0.1 +- 3 standard errors.
    assert np.mean(np.array(p_values) <= 0.1) < 0.165
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ('name', 'shift'), [(NOT_ASSESSED, 0.4), (PROBABILITY, 1.0), (PATTERN, 0.5), (EMBEDDING, 0.5)]
)
def test_a_difference_is_named(name: str, shift: float):
    result = two_sample.compare(sample(100, 1), sample(80, 2, **{name: shift}), 199)
    assert [item.name for item in two_sample.alarms(result, 0.01)] == [name]
    assert result.p_value == pytest.approx(1 / 200)


def test_distance_is_that_of_scipy():
    reference, window = sample(60, 1), sample(50, 2)
    columns = [images.columns[PROBABILITY].round(1) for images in (reference, window)]
    reference, window = (
        dataclasses.replace(images, columns={PROBABILITY: column})
        for images, column in zip((reference, window), columns, strict=True)
    )
    result = two_sample.compare(reference, window, 99)
    distances = {item.name: item.distance for item in result.differences}
    assert distances[PROBABILITY] == pytest.approx(stats.ks_2samp(*columns).statistic, abs=1e-5)


def test_a_constant_says_nothing():
    result = two_sample.compare(sample(50, 1), sample(50, 2), 99)
    assert {item.name: item.p_value for item in result.differences}['constant'] == 1


def test_unknown_values_are_left_out():
    window = sample(80, 2, probability=1.0)
    window.columns[PROBABILITY][:40] = np.nan
    result = two_sample.compare(sample(100, 1), window, 199)
    assert result.differences[0].name == PROBABILITY
    assert result.differences[0].window == pytest.approx(1.0, abs=0.5)


def test_a_small_sample_is_refused():
    with pytest.raises(two_sample.SampleError, match='the window has 10 studies'):
        two_sample.compare(sample(100, 1), sample(40, 2, per_group=4))
