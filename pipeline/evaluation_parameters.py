"""The `evaluation` part of a configuration: slices, intervals, quality gate.

Does not import TFMA.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, field_validator, model_validator

from components.evaluator import registry
from components.evaluator.registry import GATE_METRICS, GROUPS, Metric
from schemas.features import AGE_BAND, AGE_BANDS, SEX, SEXES, UNKNOWN, VIEW, VIEWS
from schemas.labels import ABNORMAL, FINDINGS
from trainer.strict_parameters import StrictParameters
from trainer.tasks import Task

# The names of slices in a configuration.
FINDINGS_SLICE = 'findings'
SLICES: tuple[str, ...] = (SEX, AGE_BAND, VIEW, FINDINGS_SLICE)
# Feature -> the values that ingestion writes. A slice of any other value has no images.
SLICE_VALUES: dict[str, tuple[str, ...]] = {
    SEX: (*SEXES, UNKNOWN),
    AGE_BAND: AGE_BANDS,
    VIEW: (*VIEWS, UNKNOWN),
    **dict.fromkeys(FINDINGS, ('0', '1')),
}
_GATE_NAMES = ', '.join(
    f'{metric.name} ({metric.title}; {metric.better} is better)'
    for metric in registry.METRICS.values()
    if metric.gate
)


class Threshold(StrictParameters):
    """One condition of the quality gate, with at least one of `min`, `max` and `max_worse`.

    Example:
        >>> Threshold(metric='sensitivity_lower', slice={'view_position': 'AP'}, min=0.8).name()
        'view_position=AP'
    """

    metric: str = Field(
        description=f'Name of a metric: {_GATE_NAMES}. With _lower or _upper appended, an end of '
        'its interval by patient.'
    )
    slice: dict[str, str] = Field(default_factory=dict)
    """Slice of the test split, e.g. {view_position: PA} or {Effusion: 1}; empty for all of it."""
    min: float | None = None
    """Smallest value of the metric that passes."""
    max: float | None = None
    """Largest value of the metric that passes."""
    max_worse: float | None = Field(None, ge=0)
    """How much worse than the baseline, the served model, the metric may be; ignored while no model
    is served."""

    @field_validator('metric')
    @classmethod
    def _registered(cls, value: str) -> str:
        if value not in GATE_METRICS:
            raise ValueError(f'no such metric: {value!r}. Known: {", ".join(GATE_METRICS)}')
        return value

    @field_validator('slice', mode='before')
    @classmethod
    def _slice(cls, value):
        if not isinstance(value, dict):
            return value
        unknown = [str(key) for key in value if key not in SLICE_VALUES]
        if unknown:
            raise ValueError(f'no slices by {", ".join(unknown)}. Known: {", ".join(SLICE_VALUES)}')
        values = {key: str(content) for key, content in value.items()}
        for key, content in values.items():
            if content not in SLICE_VALUES[key]:
                raise ValueError(
                    f'no image has {key} {content!r}. Allowed: {", ".join(SLICE_VALUES[key])}'
                )
        return values

    @model_validator(mode='after')
    def _has_a_bound(self) -> Threshold:
        if self.min is None and self.max is None and self.max_worse is None:
            raise ValueError('a threshold needs at least one of min, max, max_worse')
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f'min {self.min} is above max {self.max}')
        if self.max_worse is not None and self.registered.better == 'close to 1':
            raise ValueError(
                f'max_worse cannot be set on {self.metric}: neither a higher nor a lower value is '
                'better'
            )
        return self

    @model_validator(mode='after')
    def _within_range(self) -> Threshold:
        metric = self.registered
        for key, bound in (('min', self.min), ('max', self.max)):
            if bound is not None and not metric.low <= bound <= metric.high:
                raise ValueError(
                    f'{key} {bound:g} is outside the range of {self.metric}: {metric.range}'
                )
        if self.max_worse is not None and self.max_worse > metric.high - metric.low:
            raise ValueError(
                f'max_worse {self.max_worse:g} allows any change of {self.metric}, whose range is '
                f'{metric.range}'
            )
        return self

    @model_validator(mode='after')
    def _groups_to_compare(self) -> Threshold:
        group = self.registered.group
        if group in self.slice:
            raise ValueError(
                f'{self.metric} compares values of {group}, but all images of the slice '
                f'{self.name()} have the same one: leave {group} out of the slice'
            )
        return self

    @property
    def registered(self) -> Metric:
        """The metric in the registry."""
        metric = registry.find(self.metric)
        assert metric is not None
        return metric

    def problems(self, task: Task, has_metadata: bool) -> Iterator[str]:
        """Why no model of a task can pass this threshold; empty if one can.

        Args:
          task: the task of the run.
          has_metadata: whether the run reads a metadata table; without one, sex, age and view of
            all images are unknown.
        """
        metric = self.registered
        existing = [
            other
            for other in registry.METRICS.values()
            if other.gate and other.exists_for(task.findings)
        ]
        if metric not in existing:
            names = ', '.join(other.name for other in existing)
            yield (
                f'{self.metric} does not exist for task {task.name!r}. Its metrics: {names}; each '
                'also with _lower or _upper'
            )
        label = _label_in(self.slice, task)
        if label is not None and not _defined(metric, label):
            kind = task.positive if label else task.negative
            names = ', '.join(other.name for other in existing if _defined(other, label))
            yield (
                f'{self.metric} is not defined in the slice {self.name()}, whose images are all '
                f'{kind} for task {task.name!r}. Defined there: {names}'
            )
        if has_metadata:
            return
        if metric.needs_metadata:
            yield (
                f'{self.metric} needs sex, age and view of the images: set data.metadata to their '
                'metadata table'
            )
        for key in GROUPS:
            if self.slice.get(key, UNKNOWN) != UNKNOWN:
                yield (
                    f'the slice {self.name()} is empty without a metadata table: set data.metadata'
                )

    def name(self) -> str:
        """The slice as text."""
        return ', '.join(f'{key}={value}' for key, value in self.slice.items()) or 'all'


def _label_in(values: dict[str, str], task: Task) -> int | None:
    """The label that all images of a slice have; None if labels can differ."""
    if task.label in values:
        return int(values[task.label])
    if task.label == ABNORMAL and any(values.get(finding) == '1' for finding in FINDINGS):
        return 1
    return None


def _defined(metric: Metric, label: int) -> bool:
    """Whether a metric is defined if all images have this label."""
    return not (metric.needs_negatives if label else metric.needs_positives)


class EvaluationParameters(StrictParameters):
    """The slices to evaluate, and the thresholds that a model has to meet to be blessed."""

    slices: tuple[str, ...] = Field(SLICES, json_schema_extra={'items': {'enum': [*SLICES]}})
    """Features whose values become slices; `findings` stands for each finding."""
    thresholds: tuple[Threshold, ...] = (Threshold(metric='auc', min=0.7),)
    """Conditions of the quality gate, all of which a model has to meet; at least one needs `min` or
    `max`."""
    replicates: int = Field(1000, ge=100, le=100_000)
    """Replicates of the bootstrap over patients; more give steadier intervals and take longer."""
    interval: float = Field(0.95, gt=0.5, lt=1)
    """Level of the intervals: 0.95 gives intervals of 95 %."""
    min_group_positives: int = Field(20, ge=1)
    """Positive images that a group needs to count in a sensitivity gap."""

    @field_validator('slices')
    @classmethod
    def _supported(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in SLICES]
        if unknown:
            raise ValueError(f'no such slice: {", ".join(unknown)}. Known: {", ".join(SLICES)}')
        return value

    @field_validator('thresholds')
    @classmethod
    def _can_bless(cls, value: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
        if not value:
            raise ValueError('set at least one threshold: without any, TFX never blesses a model')
        if all(threshold.min is None and threshold.max is None for threshold in value):
            raise ValueError(
                'at least one threshold needs min or max: max_worse alone has no effect while '
                'nothing is served'
            )
        return value

    @field_validator('thresholds')
    @classmethod
    def _consistent(cls, value: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
        bounds: dict[tuple, list[Threshold]] = {}
        for threshold in value:
            bounds.setdefault((threshold.metric, *sorted(threshold.slice.items())), []).append(
                threshold
            )
        for thresholds in bounds.values():
            least = max((item.min for item in thresholds if item.min is not None), default=None)
            most = min((item.max for item in thresholds if item.max is not None), default=None)
            if least is not None and most is not None and least > most:
                first = thresholds[0]
                raise ValueError(
                    f'{first.metric} on {first.name()} has a min of {least:g} and a max of '
                    f'{most:g}: no model meets both'
                )
        return value
