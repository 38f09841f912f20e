"""How a candidate answers in another way than the served model about the same test images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from components.evaluator.predictions import LABEL, SERVED
from schemas import image_status
from schemas.features import PATIENT_ID
from schemas.signatures import FLAG, PROBABILITY, STATUS

if TYPE_CHECKING:
    import pandas as pd

NORMAL, ABNORMAL = 'normal', 'abnormal'
# Candidate minus served: flagged share, mean probability; and the mean size of the latter.
FLAGS, CHANGE, SIZE = 'flags', 'probability', 'difference'
ERROR = '_error'


def compare(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The changes among the normal and among the abnormal test images.

    Args:
      table: of `predictions.read`.

    Returns:
      NORMAL and ABNORMAL -> `images`, and the mean of FLAGS, CHANGE and SIZE, each with its
      standard error by patient under NAME_error. Images that one of the models did not assess are
      left out. Empty without a served model, or if a class has fewer than two images.
    """
    if SERVED + FLAG not in table:
        return {}
    is_known = (table[STATUS] == image_status.OK) & (table[SERVED + STATUS] == image_status.OK)
    is_known &= table[FLAG].notna() & table[SERVED + FLAG].notna()
    result = {}
    for name, label in ((NORMAL, 0), (ABNORMAL, 1)):
        rows = table[is_known & (table[LABEL] == label)]
        if len(rows) < 2:
            return {}
        change = _column(rows, PROBABILITY) - _column(rows, SERVED + PROBABILITY)
        values = {
            FLAGS: _column(rows, FLAG) - _column(rows, SERVED + FLAG),
            CHANGE: change,
            SIZE: np.abs(change),
        }
        figures: dict[str, float] = {'images': len(rows)}
        for key, numbers in values.items():
            figures[key] = float(numbers.mean())
            figures[key + ERROR] = _error(numbers, rows[PATIENT_ID].to_numpy())
        result[name] = figures
    return result


def _column(rows: pd.DataFrame, name: str) -> np.ndarray:
    return rows[name].to_numpy(np.float64)


def _error(values: np.ndarray, patient: np.ndarray) -> float:
    """The standard error of a mean, by patient; not below that of one image that differs."""
    groups = np.unique(patient, return_inverse=True)[1]
    sums = np.bincount(groups, values - values.mean())
    corrected = len(sums) / max(len(sums) - 1, 1)
    return float(max(np.sqrt(corrected * (sums**2).sum()), 1.0) / len(values))
