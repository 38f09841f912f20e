"""The groups of a sensitivity gap: the worst one, and those that the gap leaves out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tensorflow_model_analysis.proto import metrics_for_slice_pb2
from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as writer

from components.evaluator import bootstrap, groups
from components.evaluator.bootstrap import Cases

# Age band -> (positives, missed positives). The smallest group with positives is by far the worst.
BANDS = {'00-17': (6, 4), '18-39': (40, 4), '40-59': (30, 5), '80+': (0, 0), 'unknown': (25, 10)}


def _images() -> tuple[Cases, np.ndarray, np.ndarray]:
    """Positives of BANDS and five negatives per group, all flagged; two images per patient."""
    rows = [
        (band, 1, float(number >= missed))
        for band, (positives, missed) in BANDS.items()
        for number in range(positives)
    ]
    rows += [(band, 0, 1.0) for band in BANDS for _ in range(5)]
    bands, label, flag = (np.array(column) for column in zip(*rows, strict=True))
    return Cases(flag, flag, label), bands.astype('S'), np.arange(len(rows)) // 2


def _groups(min_positives: int = 20) -> groups.Groups:
    cases, bands, patient = _images()
    return groups.measure(cases, bands, patient, min_positives, 0.95)


def test_every_group_is_listed_with_its_counts() -> None:
    measured = _groups()
    assert {group.name: (group.positives, group.missed) for group in measured.groups} == BANDS
    assert [group.name for group in measured.groups if group.compared] == ['18-39', '40-59']
    assert [group.patients for group in measured.groups][:2] == [3, 20]
    empty = next(group for group in measured.groups if group.name == '80+')
    assert (empty.sensitivity, empty.lower, empty.upper) == (None, None, None)
    for group in measured.groups:
        assert group.lower is None or group.lower < group.sensitivity < group.upper


def test_the_gap_is_between_the_compared_groups() -> None:
    cases, bands, patient = _images()
    statistic = bootstrap.sensitivity_gap(cases, bands, 20, unknown=b'unknown')
    value = bootstrap.figures({'gap': statistic}, patient, 0, 0.95)['gap'].value
    rates = [group.sensitivity for group in _groups().groups if group.compared]
    assert value == pytest.approx(max(rates) - min(rates)) == pytest.approx(0.9 - 25 / 30)


def test_the_worst_group_is_named_even_if_the_gap_leaves_it_out() -> None:
    measured = _groups()
    assert measured.worst().name == '00-17'
    assert measured.worst_text().startswith('00-17: 0.333, 0.')
    assert measured.worst_text().endswith('(4 of 6 positives missed; not in the gap)')
    assert (
        measured.left_out_text()
        == 'fewer than 20 positives: 00-17 (6), 80+ (0); group unknown: 25 positives'
    )


def test_a_gap_names_the_groups_that_it_compares_and_leaves_out() -> None:
    measured = _groups()
    assert [group.name for group in measured.compared()] == ['40-59', '18-39']
    assert measured.compared_text() == '20 positives or more: 18-39 (40), 40-59 (30)'
    assert measured.gap_text() == (
        'compared, with 20 positives or more: 18-39 (40), 40-59 (30); left out, with fewer: '
        '00-17 (6), 80+ (0); left out, as unknown: 25 positives'
    )


def test_a_gap_without_a_group_that_is_large_enough_says_so() -> None:
    measured = _groups(min_positives=100)
    assert measured.compared() == []
    assert measured.compared_text() == 'no group has 100 positives'
    assert measured.gap_text().startswith('compared: none, as no group has 100 positives; left')


def test_a_gap_that_compares_all_groups_leaves_none_out() -> None:
    cases = Cases(np.ones(4), np.array([1.0, 0, 1, 1]), np.ones(4, int))
    measured = groups.measure(cases, np.array([b'F', b'F', b'M', b'M']), np.arange(4), 2, 0.95)
    assert measured.left_out_text() == ''
    assert measured.gap_text() == (
        'compared, with 2 positives or more: F (2), M (2); none left out'
    )
    assert measured.worst_text().endswith('(1 of 2 positives missed)')


def test_without_positives_there_is_no_worst_group() -> None:
    measured = groups.measure(
        Cases(np.ones(2), np.ones(2), np.zeros(2, int)),
        np.array([b'F', b'M']),
        np.arange(2),
        20,
        0.95,
    )
    assert measured.worst() is None
    assert measured.worst_text() == 'no group has a positive image'


def test_groups_are_read_back_from_tfmas_metrics() -> None:
    proto = metrics_for_slice_pb2.MetricsForSlice()
    item = proto.metric_keys_and_values.add()
    item.key.CopyFrom(groups.key('candidate', 'age_band').to_proto())
    item.value.CopyFrom(writer.convert_metric_value_to_proto(groups.to_metric(_groups())))
    other = proto.metric_keys_and_values.add()
    other.key.name = 'auc'
    assert groups.from_metric(item) == ('age_band', _groups())
    assert groups.from_metric(other) is None
    assert json.loads(_groups().model_dump_json())['min_positives'] == 20
