"""A sample with weights is evaluated as the set that it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator import bootstrap, registry
from components.evaluator.bootstrap import Cases
from components.evaluator.patient_metrics import PatientMetrics
from schemas.features import AGE, AGE_BAND, FOLLOW_UP, PATIENT_ID, SEX, VIEW, WEIGHT
from schemas.signatures import FLAG, PROBABILITY

_LABEL, _IMAGES = 'abnormal', 400
# Those that say how sure a figure is, or count images, differ: a sample has fewer images.
_OF_ALL = ('auc', 'pr_auc', 'sensitivity', 'specificity', 'precision', 'brier_score')
_CALIBRATION = ('calibration_ratio', 'calibration_error', 'sensitivity_gap_sex')


def _images() -> dict[str, np.ndarray]:
    """Images whose normal ones are there twice, each half with every score."""
    rng = np.random.default_rng(7)
    half = _IMAGES // 4
    probability = np.concatenate([rng.beta(2, 3, 2 * half), *[rng.beta(2, 5, half)] * 2])
    label = np.repeat([1, 0], 2 * half)
    women = np.concatenate([rng.random(2 * half) < 0.5, *[rng.random(half) < 0.5] * 2])
    return {
        PROBABILITY: probability,
        FLAG: (probability >= 0.35).astype(np.float32),
        PATIENT_ID: np.array([f'{patient:08d}'.encode() for patient in range(_IMAGES)]),
        AGE: np.full(_IMAGES, 50),
        AGE_BAND: np.full(_IMAGES, b'40-59'),
        SEX: np.where(women, b'F', b'M'),
        VIEW: np.full(_IMAGES, b'PA'),
        FOLLOW_UP: np.zeros(_IMAGES, int),
        WEIGHT: np.ones(_IMAGES),
        _LABEL: label,
    }


def _measured(columns: dict[str, np.ndarray]) -> dict:
    metric = PatientMetrics(label=_LABEL, replicates=20, min_positives=5)
    combiner = metric.computations()[0].combiner
    count = len(columns[_LABEL])
    block = (
        *(columns[name] for name in combiner._outputs),
        np.zeros(count),
        *(columns[name] for name in combiner._features),
    )
    accumulator = combiner.create_accumulator()
    accumulator.blocks.append(block)
    return combiner.extract_output(accumulator)


def _by_name(measured: dict) -> dict:
    return {key.name: value for key, value in measured.items()}


def test_half_of_the_normal_images_with_weight_2_gives_the_figures_of_all() -> None:
    everything = _images()
    kept = np.arange(_IMAGES) < _IMAGES * 3 // 4
    sample = {name: values[kept] for name, values in everything.items()}
    sample[WEIGHT] = np.where(sample[_LABEL] == 1, 1.0, 2.0)
    expected, actual = _by_name(_measured(everything)), _by_name(_measured(sample))
    for name in (*_OF_ALL, *_CALIBRATION):
        assert actual[name] == pytest.approx(expected[name], rel=1e-12), name
    without = _by_name(_measured(sample | {WEIGHT: np.ones(kept.sum())}))
    assert abs(without['precision'] - expected['precision']) > 0.05
    for matrix in ('tp', 'fp', 'tn', 'fn'):
        both = (getattr(m['confusion_matrix_at_thresholds'], matrix) for m in (expected, actual))
        assert len({tuple(counts) for counts in both}) == 1, matrix
    bins = [measured['reliability'] for measured in (expected, actual)]
    np.testing.assert_allclose(bins[0][:, 1:3], bins[1][:, 1:3])
    assert bins[1][:, 0].sum() == kept.sum()


def test_the_interval_of_a_sample_is_wider_than_that_of_all() -> None:
    """Twice the weight is not twice the information."""
    everything = _images()
    kept = np.arange(_IMAGES) < _IMAGES * 3 // 4
    cases = Cases(everything[PROBABILITY], everything[FLAG], everything[_LABEL])
    some = Cases(*(values[kept] for values in (cases.probability, cases.flag, cases.label)))
    weights = np.where(some.label == 1, 1.0, 2.0)
    widths = []
    for part, weight in ((cases, None), (some, weights)):
        figure = bootstrap.figures(
            {'s': bootstrap.specificity(part)}, np.arange(len(part.label)), 2000, 0.95, 0, weight
        )['s']
        widths.append(figure.upper - figure.lower)
    assert 1.2 < widths[1] / widths[0] < 1.7  # the square root of 2


def test_weights_of_1_change_nothing_at_all() -> None:
    images = _images()
    cases = Cases(images[PROBABILITY], images[FLAG], images[_LABEL])
    statistics = {
        name: getattr(bootstrap, name)(cases)
        for name in ('sensitivity', 'specificity', 'brier_score', 'calibration_error')
    } | {'auc': bootstrap.auc(cases.probability, cases.label)}
    patient = images[PATIENT_ID]
    assert bootstrap.figures(statistics, patient, 50, 0.95) == bootstrap.figures(
        statistics, patient, 50, 0.95, weights=np.ones(_IMAGES)
    )


def test_the_groups_of_a_gap_have_weighted_sensitivities() -> None:
    images = _images()
    images[WEIGHT] = np.where(images[FLAG] > 0, 1.0, 3.0)
    values = _by_name(_measured(images))
    for group in registry.GROUPS:
        assert f'sensitivity_groups_{group}' in values
    text = values[f'sensitivity_groups_{SEX}'][0]
    inside = (images[SEX] == b'F') & (images[_LABEL] == 1)
    weight = images[WEIGHT][inside]
    expected = weight[images[FLAG][inside] > 0].sum() / weight.sum()
    assert f'"weighted":{expected:.6f}'[:-1] in text
