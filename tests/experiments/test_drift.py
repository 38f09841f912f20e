"""Which windows the drift experiment draws, and what it makes of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from experiments import drift
from monitoring import sample
from tests.monitoring.samples import sample as drawn


@pytest.fixture(scope='module')
def training() -> sample.Sample:
    return drawn(300, 1, per_group=2)


def _changed(training: sample.Sample, shift: float) -> sample.Sample:
    vectors = {name: values + shift for name, values in training.vectors.items()}
    return dataclasses.replace(training, vectors=vectors).take(np.arange(150))


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5])
def test_no_patient_is_in_window_and_reference(training: sample.Sample, share: float) -> None:
    changed = _changed(training, 100)
    reference, window = drift.drawn_window(training, changed, share, 80, np.random.default_rng(0))
    assert len(window) == 80
    pattern = window.vectors[sample.PATTERN]
    assert (pattern.mean(axis=1) > 50).sum() == round(share * 80)
    assert not set(window.groups) & set(reference.groups)
    assert (reference.vectors[sample.PATTERN].mean(axis=1) < 50).all()


def test_halves_have_all_images_and_share_no_patient(training: sample.Sample) -> None:
    first, second = drift.halves(training, np.random.default_rng(0))
    assert len(first) + len(second) == len(training)
    assert not set(first.groups) & set(second.groups)


def test_a_large_change_is_detected_and_none_is_not(training: sample.Sample) -> None:
    traffic = drift.Traffic(training, _changed(training, 1), {'moved': _changed(training, 1)})
    results = drift.measure(traffic, draws=20, windows=3, size=80, permutations=99)
    assert results['power']['moved']['0.4'][0] == 1
    assert results['power']['no change']['0.0'][0] == 0
    assert results['halves']['0.01'][3] == 20
    assert results['halves']['0.1'][0] < 0.4
    assert results['official']['p_value'] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ('row', 'expected'),
    [
        ({'0.1': (0.2,), '0.2': (0.9,), '0.4': (1.0,)}, '20%'),
        ({'0.1': (0.9,), '0.2': (0.5,), '0.4': (1.0,)}, '40%'),
        ({'0.1': (0.1,), '0.2': (0.2,), '0.4': (0.3,)}, 'above 40%'),
    ],
)
def test_smallest_detected_share(row: dict[str, tuple[float, ...]], expected: str) -> None:
    assert drift.smallest_detected(row) == expected
