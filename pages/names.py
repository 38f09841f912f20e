"""Titles of slices, features and labels. For titles of metrics see `registry.title`."""

from __future__ import annotations

from components.evaluator import registry
from schemas.features import AGE_BAND, SEX, VIEW
from schemas.labels import FINDINGS

EVERYTHING = 'All test images'
_SEX = {'F': 'female', 'M': 'male'}


def slice_title(key: tuple[tuple[str, str], ...]) -> str:
    """The title of a slice of (feature, value) pairs; () is all images."""
    return ', '.join(_pair(feature, value) for feature, value in key) or EVERYTHING


def group(feature: str) -> str:
    """The title of a feature that groups images."""
    return registry.GROUP_TITLES.get(feature, feature)


def label(name: str) -> str:
    """The title of a label or an output of the model."""
    return name.replace('_', ' ')


def _pair(feature: str, value: str) -> str:
    if feature == SEX:
        return f'Sex: {_SEX.get(value, value)}'
    if feature == VIEW:
        return f'View: {value}'
    if feature == AGE_BAND:
        return f'Age: {value.replace("-", "–")}'
    if feature in FINDINGS:
        return f'Images with {label(feature)}' if value == '1' else f'{label(feature)}: {value}'
    return f'{feature}: {value}'
