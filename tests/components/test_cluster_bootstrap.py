"""Metrics equal their definitions, and intervals are right where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from components.evaluator import bootstrap, shares
from components.evaluator.bootstrap import Cases, Statistic
from components.evaluator.figure import Figure

LEVEL = 0.95


def _cases(count: int = 500, seed: int = 0) -> Cases:
    rng = np.random.default_rng(seed)
    label = (rng.random(count) < 0.4).astype(int)
    # Rounding makes ties.
    probability = np.clip(rng.normal(0.4 + 0.2 * label, 0.2, count), 0, 1).round(2)
    return Cases(probability, (probability >= 0.5).astype(float), label)


def _figure(statistic: Statistic, patient: np.ndarray, replicates: int, seed: int = 0) -> Figure:
    return bootstrap.figures({'metric': statistic}, patient, replicates, LEVEL, seed)['metric']


def _value(statistic: Statistic, count: int) -> float | None:
    return _figure(statistic, np.arange(count), 0).value


def _interval(
    statistic: Statistic, patient: np.ndarray, replicates: int = 2000, seed: int = 0
) -> tuple[float, float]:
    figure = _figure(statistic, patient, replicates, seed)
    assert figure.lower is not None and figure.upper is not None
    return figure.lower, figure.upper


def _statistic(name: str, cases: Cases) -> Statistic:
    if name in ('auc', 'average_precision'):
        return getattr(bootstrap, name)(cases.probability, cases.label)
    return getattr(bootstrap, name)(cases)


def _by_definition(cases: Cases) -> dict[str, float]:
    positive, negative = cases.probability[cases.label == 1], cases.probability[cases.label == 0]
    bins = np.clip(np.floor(cases.probability * 15), 0, 14)
    in_bin = [bins == number for number in range(15)]
    return {
        'auc': float(
            ((positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)).mean()
        ),
        'average_precision': float(average_precision_score(cases.label, cases.probability)),
        'sensitivity': float((positive >= 0.5).mean()),
        'precision': float(cases.label[cases.probability >= 0.5].mean()),
        'specificity': float((negative < 0.5).mean()),
        'brier_score': float(((cases.probability - cases.label) ** 2).mean()),
        'calibration_ratio': float(cases.probability.mean() / cases.label.mean()),
        'calibration_error': float(
            sum(
                abs(cases.probability[rows].mean() - cases.label[rows].mean()) * rows.mean()
                for rows in in_bin
                if rows.any()
            )
        ),
    }


@pytest.mark.parametrize('name', list(_by_definition(_cases())))
def test_values_equal_their_definitions(name: str) -> None:
    cases = _cases()
    assert _value(_statistic(name, cases), 500) == pytest.approx(
        _by_definition(cases)[name], abs=1e-12
    )


def test_an_image_of_weight_two_counts_as_two_images() -> None:
    cases, rng = _cases(80), np.random.default_rng(1)
    counts = rng.integers(0, 4, 80)
    repeated = Cases(
        *(np.repeat(values, counts) for values in (cases.probability, cases.flag, cases.label))
    )
    expected = _by_definition(repeated)
    for name, value in expected.items():
        assert _statistic(name, cases)(counts[None].astype(float)) == pytest.approx(
            [value], abs=1e-12
        ), name


def test_the_interval_of_a_share_equals_the_binomial_one() -> None:
    count, share = 2000, 0.3
    flag = (np.arange(count) < share * count).astype(float)
    cases = Cases(flag, flag, np.ones(count, int))
    margin = 1.96 * np.sqrt(share * (1 - share) / count)
    assert _interval(bootstrap.sensitivity(cases), np.arange(count), 4000) == pytest.approx(
        (share - margin, share + margin), abs=0.1 * margin
    )


def test_the_interval_of_an_auc_equals_that_of_hanley_and_mcneil() -> None:
    """Their formula (Radiology 143, 1982) is accurate for exponentially distributed scores."""
    rng, count = np.random.default_rng(3), 1500
    label = (np.arange(2 * count) < count).astype(int)
    score = rng.exponential(np.where(label == 1, 3.0, 1.0))
    lower, upper = _interval(bootstrap.auc(score, label), np.arange(2 * count))
    area = 0.75
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area) + (count - 1) * (first - area**2) + (count - 1) * (second - area**2)
    ) / count**2
    assert (upper - lower) / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=0.1)
    assert lower < area < upper


@pytest.mark.parametrize('images', [1, 3, 10])
def test_copies_of_images_do_not_narrow_the_interval(images: int) -> None:
    single = _cases(300)
    cases = Cases(
        *(np.repeat(values, images) for values in (single.probability, single.flag, single.label))
    )
    patient = np.repeat(np.arange(300), images)
    for metric in (bootstrap.sensitivity, bootstrap.brier_score):
        assert _interval(metric(cases), patient) == pytest.approx(
            _interval(metric(single), np.arange(300)), abs=1e-9
        )
    # Images as independent cases would narrow it.
    if images > 1:
        lower, upper = _interval(bootstrap.brier_score(cases), np.arange(len(patient)))
        wide = _interval(bootstrap.brier_score(single), np.arange(300))
        assert (upper - lower) == pytest.approx((wide[1] - wide[0]) / np.sqrt(images), rel=0.1)


def test_the_interval_covers_the_true_value_at_its_level() -> None:
    """Patients have one to five correlated images. 200,000 patients give the true AUC."""

    def draw(patients: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(patients), rng.integers(1, 6, patients))
        effect, abnormal = rng.normal(size=patients), (rng.random(patients) < 0.5).astype(int)
        return (
            effect[patient] + 0.5 * rng.normal(size=len(patient)) + abnormal[patient],
            abnormal[patient],
            patient,
        )

    score, label, _ = draw(200_000, 0)
    truth = _value(bootstrap.auc(score, label), len(label))
    covers_by_patient = covers_by_image = 0
    for seed in range(1, 151):
        score, label, patient = draw(100, seed)
        lower, upper = _interval(bootstrap.auc(score, label), patient, 300)
        covers_by_patient += lower <= truth <= upper
        lower, upper = _interval(bootstrap.auc(score, label), np.arange(len(patient)), 300)
        covers_by_image += lower <= truth <= upper
    assert 0.89 <= covers_by_patient / 150 <= 0.99
    assert covers_by_image / 150 < 0.85


def test_the_seed_determines_the_interval() -> None:
    statistic = bootstrap.sensitivity(_cases())
    first, again, other = (_interval(statistic, np.arange(500), 200, seed) for seed in (0, 0, 1))
    assert first == again != other


def test_the_chunk_size_does_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    statistic = bootstrap.sensitivity(_cases())
    whole = _interval(statistic, np.arange(500), 100)
    monkeypatch.setattr(bootstrap, '_CHUNK', 7 * 500)
    assert _interval(statistic, np.arange(500), 100) == whole


@pytest.mark.parametrize('label', [0, 1])
def test_with_one_class_there_is_no_auc(label: int) -> None:
    cases = _cases(50)
    statistic = bootstrap.auc(cases.probability, np.full(50, label))
    assert _figure(statistic, np.arange(50), 100) == Figure(None)


def test_one_positive_has_a_value_but_no_interval() -> None:
    label = np.zeros(50, int)
    label[7] = 1
    figure = _figure(bootstrap.auc(np.linspace(0, 1, 50), label), np.arange(50), 100)
    assert (figure.value, figure.lower) == (pytest.approx(7 / 49), None)


@pytest.mark.parametrize(('share', 'bound'), [(1.0, 0), (0.0, 1)])
def test_a_share_of_0_or_1_has_wilsons_interval(share: float, bound: int) -> None:
    label = np.repeat([1, 0], [9, 30])
    cases = Cases(np.full(39, share), np.full(39, share), label)
    # Three patients have the nine positives.
    patient = np.concatenate([np.repeat([0, 1, 2], 3), np.arange(3, 33)])
    figure = _figure(bootstrap.sensitivity(cases), patient, 500)
    # All replicates agree, so their percentiles would have no width.
    expected = shares.wilson(share, 3, LEVEL)
    assert (figure.value, figure.lower, figure.upper) == (share, *expected)
    assert abs(expected[bound] - share) > 0.5
    # The same cases as a subset of more images.
    subset = bootstrap.among(np.arange(39) + 11, bootstrap.sensitivity(cases))
    patients_of_all = np.concatenate([np.arange(100, 111), patient])
    assert _figure(subset, patients_of_all, 500) == figure


def test_without_replicates_there_is_no_interval() -> None:
    cases = Cases(np.ones(9), np.ones(9), np.ones(9, int))
    assert _figure(bootstrap.sensitivity(cases), np.arange(9), 0) == Figure(1.0)


def test_a_difference_uses_the_same_replicates() -> None:
    cases = _cases()
    same = bootstrap.difference(bootstrap.sensitivity(cases), bootstrap.sensitivity(cases))
    assert _interval(same, np.arange(500)) == (0.0, 0.0)


def test_the_mean_ignores_undefined_statistics() -> None:
    cases = _cases(50)
    defined, undefined = (
        bootstrap.auc(cases.probability, cases.label),
        bootstrap.auc(cases.probability, np.ones(50)),
    )
    assert _value(bootstrap.mean([defined, defined]), 50) == _value(defined, 50)
    assert _value(bootstrap.mean([defined, undefined]), 50) == _value(defined, 50)
    assert _value(bootstrap.mean([undefined, undefined]), 50) is None


def test_the_gap_is_between_the_best_and_the_worst_compared_group() -> None:
    # Group -> (flagged positives, positives). The gap leaves out 'few' and 'unknown'.
    groups = {'a': (30, 40), 'b': (36, 40), 'c': (20, 40), 'few': (0, 5), 'unknown': (0, 40)}
    names = np.repeat(list(groups), [positives + 10 for _, positives in groups.values()])
    label = np.concatenate([[1] * positives + [0] * 10 for _, positives in groups.values()])
    flag = np.concatenate(
        [
            [1] * flagged + [0] * (positives - flagged) + [1] * 10
            for flagged, positives in groups.values()
        ]
    )
    cases = Cases(flag.astype(float), flag, label)
    assert _value(
        bootstrap.sensitivity_gap(cases, names, 20, unknown='unknown'), len(label)
    ) == pytest.approx(0.9 - 0.5)
    assert _value(
        bootstrap.sensitivity_gap(cases, names, 1, unknown='unknown'), len(label)
    ) == pytest.approx(0.9)
    assert _value(bootstrap.sensitivity_gap(cases, names, 41), len(label)) is None
