"""Describes a small grey image by numbers that do not depend on brightness and contrast."""

from __future__ import annotations

import numpy as np

# Brightness: averages of GRID x GRID parts of the image.
_GRID = 8
# Edges: their strength in each direction, in each of CELLS x CELLS parts of the image.
_CELLS, _DIRECTIONS = 4, 8
# Details of each size, as steps of halving the image.
_SCALES = 4
# Per cent. The darkest and the brightest pixels are often markers, letters and borders.
_CLIPPED = (1.0, 99.0)
_SMALLEST_SPREAD = 1.0
LENGTH = _GRID**2 + _CELLS**2 * _DIRECTIONS + _SCALES + 2


def describe(grey: np.ndarray) -> np.ndarray:
    """The descriptors of an image.

    Args:
      grey: float32 [side, side], 0..255; side is a power of 2, at least 16.

    Returns:
      float32 [LENGTH]: brightness, edges, details, and likeness to the image upside down and to the
      image turned on its side.
    """
    low, high = np.percentile(grey, _CLIPPED)
    clipped = np.clip(grey, low, high)
    values = (clipped - clipped.mean()) / max(float(clipped.std()), _SMALLEST_SPREAD)
    likeness = np.array([_correlation(values, values[::-1]), _correlation(values, values.T)])
    parts = [_averages(values, _GRID).ravel(), _edges(values), _details(values), likeness]
    return np.concatenate(parts).astype(np.float32)


def _averages(values: np.ndarray, cells: int) -> np.ndarray:
    side = len(values) // cells
    return values.reshape(cells, side, cells, side).mean(axis=(1, 3))


def _edges(values: np.ndarray) -> np.ndarray:
    """Square roots of the shares of all edges, [directions x CELLS x CELLS].

    Opposite directions are different: an inverted image has them exchanged.
    """
    down, right = np.gradient(values)
    strength = np.hypot(down, right).ravel()
    direction = (np.arctan2(down, right).ravel() / (2 * np.pi) + 0.5) * _DIRECTIONS
    lower = direction.astype(np.intp)
    # An edge counts for the two nearest directions.
    upper_share = direction - lower
    lines = np.arange(len(values)) * _CELLS // len(values)
    cell = (lines[:, None] * _CELLS + lines).ravel()
    sums = np.zeros(_DIRECTIONS * _CELLS**2)
    for bound, share in ((lower, 1 - upper_share), (lower + 1, upper_share)):
        place = bound % _DIRECTIONS * _CELLS**2 + cell
        sums += np.bincount(place, strength * share, len(sums))
    return np.sqrt(sums / max(float(sums.sum()), 1e-6))


def _details(values: np.ndarray) -> np.ndarray:
    """The logarithms of the strength of details, from the finest on."""
    variances = [float(values.var(dtype=np.float64))]
    for _ in range(_SCALES):
        values = _averages(values, len(values) // 2)
        variances.append(float(values.var(dtype=np.float64)))
    # What averaging takes away from the variance is the variance of the details.
    return np.log(np.sqrt(np.maximum(-np.diff(variances), 0)) + 1e-3)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Of two arrays with a mean of 0 and the same standard deviation."""
    return float((first * second).mean() / max(float(first.var()), 1e-6))
