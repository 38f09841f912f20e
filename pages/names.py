"""Titles of slices, features and labels. For titles of metrics see `registry.title`."""

from __future__ import annotations

from components.evaluator import registry
from schemas.features import AGE_BAND, SEX
from schemas.labels import FINDINGS
from schemas.signatures import PROBABILITY

EVERYTHING = 'All test images'
_SEX = {'F': 'female', 'M': 'male'}


def slice_title(key: tuple[tuple[str, str], ...]) -> str:
    """The title of a slice of (feature, value) pairs; () is all images."""
    return ', '.join(_pair(feature, value) for feature, value in key) or EVERYTHING


def slice_in_sentence(key: tuple[tuple[str, str], ...]) -> str:
    """The title of a slice for the middle of a sentence."""
    return slice_title(key) if key else EVERYTHING.lower()


def value(feature: str, text: str) -> str:
    """The title of a value of a feature, such as female, without that of the feature."""
    if feature == SEX:
        return _SEX.get(text, text)
    return text.replace('-', '–') if feature == AGE_BAND else text


def group(feature: str) -> str:
    """The title of a feature that groups images."""
    return registry.GROUP_TITLES.get(feature, feature)


def label(name: str) -> str:
    """The title of a label or an output of the model."""
    return name.replace('_', ' ')


def output(name: str) -> str:
    """The title of an output of the model for a plot of its own."""
    return 'Probability of the task' if name == PROBABILITY else label(name)


def _pair(feature: str, text: str) -> str:
    if feature in FINDINGS:
        return f'Images with {label(feature)}' if text == '1' else f'{label(feature)}: {text}'
    title = group(feature).capitalize() if feature in registry.GROUP_TITLES else feature
    return f'{title}: {value(feature, text)}'
