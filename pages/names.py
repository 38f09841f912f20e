"""Names for people: of metrics, slices, features and labels."""

from __future__ import annotations

from components.evaluator import registry
from schemas.features import AGE_BAND, SEX, VIEW
from schemas.labels import FINDINGS

EVERYTHING = 'All test films'
_GROUPS = registry.GROUP_TITLES
_SEX = {'F': 'female', 'M': 'male'}
METRICS: dict[str, str] = {
    **{name: metric.title for name, metric in registry.METRICS.items()},
    'example_count': 'Films',
}
_ENDS = {'_lower': ', lower end', '_upper': ', upper end'}


def metric(name: str) -> str:
    """A metric, or an end of its interval; one that is not known by its own name."""
    for end, words in _ENDS.items():
        if name.endswith(end) and name.removesuffix(end) in METRICS:
            return METRICS[name.removesuffix(end)] + words
    return METRICS.get(name, name)


def slice_title(key: tuple[tuple[str, str], ...]) -> str:
    """A slice, as (feature, value) pairs; () is all films."""
    return ', '.join(_pair(feature, value) for feature, value in key) or EVERYTHING


def group(feature: str) -> str:
    """A feature by which films are grouped."""
    return _GROUPS.get(feature, feature)


def label(name: str) -> str:
    """A label or an output of the model."""
    return name.replace('_', ' ')


def _pair(feature: str, value: str) -> str:
    if feature == SEX:
        return f'Sex: {_SEX.get(value, value)}'
    if feature == VIEW:
        return f'View: {value}'
    if feature == AGE_BAND:
        return f'Age: {value.replace("-", "–")}'
    if feature in FINDINGS:
        return f'Films with {label(feature)}' if value == '1' else f'{label(feature)}: {value}'
    return f'{feature}: {value}'
