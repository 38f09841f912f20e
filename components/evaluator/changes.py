"""The change of the candidate against the served model, paired: both see the same patients.

Two intervals, one for each model, can overlap although one model is better on nearly every
replicate. Here every replicate draws patients once and measures both models on them.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import metric_types

from components.evaluator import bootstrap
from components.evaluator.bootstrap import Cases, Statistic
from components.evaluator.figure import Figure

_METRIC = 'changes_against_served'


def measure(
    candidate: Cases,
    served: Cases,
    patient: np.ndarray,
    replicates: int,
    level: float,
    weights: np.ndarray | None = None,
) -> dict[str, Figure]:
    """The candidate's metric minus that of the served model, by name of the metric.

    Args:
      candidate: all images.
      served: the same images in the same order, as the served model sees them.
      patient: any dtype [n], the patient of each image.
      replicates, level, weights: see `bootstrap.figures`.
    """
    before, after = headline(served), headline(candidate)
    return bootstrap.figures(
        {name: bootstrap.difference(after[name], before[name]) for name in after},
        patient,
        replicates,
        level,
        weights=weights,
    )


def headline(cases: Cases) -> dict[str, Statistic]:
    """The metrics of `registry.HEADLINE`."""
    return {
        'auc': bootstrap.auc(cases.probability, cases.label),
        'sensitivity': bootstrap.sensitivity(cases),
        'specificity': bootstrap.specificity(cases),
    }


def key(model_name: str) -> metric_types.MetricKey:
    """TFMA's key of the changes; the value is from `to_metric`."""
    return metric_types.MetricKey(_METRIC, model_name=model_name, example_weighted=False)


def to_metric(changes: dict[str, Figure]) -> np.ndarray:
    """Changes as a value that TFMA stores: str [1], a JSON text."""
    content = {name: [item.value, item.lower, item.upper] for name, item in changes.items()}
    return np.array([json.dumps(content)])


def from_metric(item: Any) -> dict[str, Figure] | None:
    """The changes in a MetricKeyAndValue proto of TFMA; None for any other metric."""
    if item.key.name != _METRIC:
        return None
    (text,) = item.value.array_value.bytes_values
    return {name: Figure(*ends) for name, ends in json.loads(text).items()}
