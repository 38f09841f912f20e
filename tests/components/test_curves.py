"""ROC and precision-recall curves from confusion matrices, thinning, and merged buckets."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from components.evaluator import curves

# (threshold, tp, fp, tn, fn) for 10 positives and 10 negatives.
MATRICES = [(0.0, 10, 10, 0, 0), (0.5, 8, 2, 8, 2), (1.0, 0, 0, 10, 10)]


def _bucket(count: float, labels: float, predictions: float) -> SimpleNamespace:
    return SimpleNamespace(
        num_weighted_examples=SimpleNamespace(value=count),
        total_weighted_label=SimpleNamespace(value=labels),
        total_weighted_refined_prediction=SimpleNamespace(value=predictions),
    )


def test_roc_is_sorted_and_ends_in_the_corners() -> None:
    assert curves.roc(MATRICES) == [(0.0, 0.0), (0.2, 0.8), (1.0, 1.0)]
    unordered = [(0.5, 4, 1, 9, 6), (0.2, 8, 5, 5, 2), (0.6, 4, 1, 9, 6)]
    assert curves.roc(unordered) == [(0.0, 0.0), (0.1, 0.4), (0.5, 0.8), (1.0, 1.0)]


def test_roc_of_one_class_is_empty() -> None:
    assert curves.roc([(0.5, 3, 0, 0, 1)]) == []


def test_precision_recall_leaves_out_undefined_points() -> None:
    assert curves.precision_recall(MATRICES) == [(0.8, 0.8), (1.0, 0.5)]
    assert curves.precision_recall([(0.5, 0, 3, 7, 0)]) == []


def test_thinning_keeps_the_ends_and_the_distinct_points() -> None:
    steps = [(n / 1000, 1000 - n, 1000 - n, n, n) for n in range(1001)]
    thin = curves.thinned(steps, 50)
    assert len(thin) <= 50
    assert (thin[0], thin[-1]) == (steps[0], steps[-1])
    true_positives = [matrix[1] for matrix in thin]
    assert max(a - b for a, b in itertools.pairwise(true_positives)) <= 2 * 1000 / 49
    two_values = [(n / 1000, *((5, 5, 0, 0) if n < 400 else (0, 0, 5, 5))) for n in range(1001)]
    assert curves.thinned(two_values) == (two_values[0], two_values[400])


def test_merged_buckets_lose_no_image() -> None:
    merged = curves.merged([_bucket(0, 0, 0), _bucket(3, 1, 0.03), _bucket(2, 2, 2.0)], 10)
    assert len(merged) == 10
    assert [images for _, _, images, _, _ in merged if images] == [3, 2]
    assert merged[-1][3:] == (2, 2.0)


def test_buckets_of_the_same_range_are_summed() -> None:
    merged = curves.merged([_bucket(2, 1, 0.5), _bucket(2, 0, 0.42)], 10)
    assert merged[2] == (0.2, pytest.approx(0.3), 4, 1, pytest.approx(0.92))
