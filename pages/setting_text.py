"""Values of settings as a reader would write them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipeline.evaluation_parameters import Threshold

_THRESHOLDS = 'config.evaluation.thresholds'


def in_words(key: str, value: str) -> str:
    """A recorded value as text: thresholds as conditions, other values as they are.

    Args:
      key: the key of a fact, e.g. `config.train.seed`.
      value: its value as JSON; '' if it is not set.

    Example:
        >>> in_words('config.evaluation.thresholds', '[{"metric": "auc", "min": 0.8}]')
        'auc >= 0.8'
    """
    if key != _THRESHOLDS or not value:
        return value or 'not set'
    try:
        thresholds = [Threshold(**threshold) for threshold in json.loads(value)]
    except (ValueError, TypeError):  # another version wrote it
        return value
    return '; '.join(text for threshold in thresholds for text in _conditions(threshold)) or 'none'


def _conditions(threshold: Threshold) -> Iterator[str]:
    subject = f'{threshold.metric} on {threshold.name()}' if threshold.slice else threshold.metric
    if threshold.min is not None:
        yield f'{subject} >= {threshold.min:g}'
    if threshold.max is not None:
        yield f'{subject} <= {threshold.max:g}'
    if threshold.max_worse is not None:
        yield f'{subject} at most {threshold.max_worse:g} worse than served'
