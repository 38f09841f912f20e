"""What the Evaluator measured, as plain values: metrics with intervals, confusion matrices, plots;
of every slice, of both models.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf import json_format

# TFMA's top level lost some protos in later versions.
from tensorflow_model_analysis.proto import config_pb2

from components.evaluator import groups as groups_lib
from components.evaluator import reliability
from components.evaluator.groups import Groups
from pages import names
from pipeline.evaluation_parameters import METRICS, EvaluationParameters, Threshold
from pipeline.picture import merged
from schemas.signatures import FLAG, PROBABILITY

CANDIDATE, BASELINE, DIFFERENCE = 'candidate', 'baseline', 'difference'
# Points of a curve that are drawn, of the thousand thresholds and ten thousand buckets that TFMA
# writes for each slice.
POINTS = 200
_LOWER, _UPPER = '_lower', '_upper'
SliceKey = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A metric with the ends of its interval, where it has one; None: not defined for this
    slice.
    """

    value: float | None
    lower: float | None = None
    upper: float | None = None

    def text(self, digits: int = 3) -> str:
        """For people."""
        if self.value is None:
            return 'not defined'
        interval = self.interval(digits)
        return f'{self.value:.{digits}f}' + (f' ({interval})' if interval else '')

    def interval(self, digits: int = 3) -> str:
        """Its ends for people; empty where it has none."""
        return (
            ''
            if self.lower is None or self.upper is None
            else f'{self.lower:.{digits}f} – {self.upper:.{digits}f}'
        )


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Films at the model's own operating point."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def positives(self) -> int:
        """Films with label 1."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> int:
        """Films with label 0."""
        return self.true_negatives + self.false_positives


@dataclasses.dataclass(frozen=True)
class Curves:
    """The plots of one output.

    Attributes:
      matrices: (threshold, true positives, false positives, true negatives, false negatives),
        thresholds rising; at most about `POINTS`.
      buckets: (lower end, upper end, films, labels summed, predictions summed), of equal width;
        empty for an output without them.
    """

    matrices: tuple[tuple[float, float, float, float, float], ...] = ()
    buckets: tuple[tuple[float, float, float, float, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Bin:
    """Films whose probability is in one range: what was said, and what is so, with its interval by
    patient.
    """

    films: int
    mean_probability: float
    share: float
    lower: float
    upper: float


@dataclasses.dataclass
class Slice:
    """One slice: figures by (model, metric), where model may be DIFFERENCE; confusion by model;
    curves by (model, output); reliability by (model, output), the bins that hold films; groups by
    (model, feature)."""

    key: SliceKey
    figures: dict[tuple[str, str], Figure] = dataclasses.field(default_factory=dict)
    confusion: dict[str, Confusion] = dataclasses.field(default_factory=dict)
    curves: dict[tuple[str, str], Curves] = dataclasses.field(default_factory=dict)
    reliability: dict[tuple[str, str], tuple[Bin, ...]] = dataclasses.field(default_factory=dict)
    groups: dict[tuple[str, str], Groups] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """For people."""
        return names.slice_title(self.key)

    def figure(self, metric: str, model: str = CANDIDATE) -> Figure:
        """A metric; one without a value where it was not measured."""
        return self.figures.get((model, metric), Figure(None))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The slices, all films first; `thresholds` are those of the gate, `level` is that of the
    intervals, e.g. 0.95.
    """

    folder: str
    slices: tuple[Slice, ...]
    thresholds: tuple[Threshold, ...]
    level: float

    @property
    def overall(self) -> Slice:
        """All test films."""
        return self.slices[0]

    @property
    def has_baseline(self) -> bool:
        """Whether the candidate was compared with a served model."""
        return any(model == BASELINE for model, _ in self.overall.figures)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Outputs with curves, `probability` first."""
        found = dict.fromkeys(output for each in self.slices for _, output in each.curves)
        return tuple(sorted(found, key=lambda name: (name != PROBABILITY, name)))


class EvaluationError(ValueError):
    """An evaluation that cannot be shown; the text says which and why."""


def read(folder: str, eval_config: str) -> Evaluation:
    """Reads an `evaluation` artifact.

    Args:
      folder: where it lies.
      eval_config: TFMA's EvalConfig as JSON, as the Evaluator was given it.

    Raises:
      EvaluationError: there are no metrics over all films in it.
    """
    import tensorflow_model_analysis as tfma

    if not os.path.isdir(folder):
        raise EvaluationError(
            f'{folder} is not there any more: it holds what the Evaluator measured; run the '
            'pipeline again to have it back'
        )
    slices: dict[SliceKey, Slice] = {}
    for of_slice in tfma.load_metrics(folder):
        key = _slice_key(of_slice.slice_key)
        found = slices.setdefault(key, Slice(key))
        _add_metrics(found, of_slice.metric_keys_and_values)
    for of_slice in tfma.load_plots(folder):
        key = _slice_key(of_slice.slice_key)
        if key in slices:
            _add_plots(slices[key], of_slice.plot_keys_and_values)
    if () not in slices:
        raise EvaluationError(
            f'{folder}: no metrics over all test films; expected those that the Evaluator writes'
        )
    ordered = sorted(slices.values(), key=lambda each: (len(each.key), each.key))
    config = json_format.Parse(eval_config, config_pb2.EvalConfig(), ignore_unknown_fields=True)
    return Evaluation(folder, tuple(ordered), tuple(_thresholds(config)), _level(config))


def thresholds(eval_config: str) -> tuple[Threshold, ...]:
    """The thresholds of the gate, out of TFMA's configuration: the form in which every run has them
    on record.
    """
    config = json_format.Parse(eval_config, config_pb2.EvalConfig(), ignore_unknown_fields=True)
    return tuple(_thresholds(config))


def _level(config: config_pb2.EvalConfig) -> float:
    settings = (
        json.loads(metric.config or '{}')
        for spec in config.metrics_specs
        for metric in spec.metrics
    )
    default = EvaluationParameters.model_fields['interval'].default
    return next((float(each['level']) for each in settings if 'level' in each), default)


def parameters(evaluation: Evaluation) -> EvaluationParameters:
    """What `pipeline.metrics.verdicts` asks for."""
    return EvaluationParameters.model_construct(thresholds=evaluation.thresholds)


def _thresholds(config: config_pb2.EvalConfig) -> Iterator[Threshold]:
    for spec in config.metrics_specs:
        for metric, of_metric in spec.per_slice_thresholds.items():
            for bound in of_metric.thresholds:
                value, change = bound.threshold.value_threshold, bound.threshold.change_threshold
                for slicing in bound.slicing_specs:
                    yield Threshold.model_construct(
                        metric=metric,
                        slice=dict(slicing.feature_values),
                        # Minus infinity only asks for a value, see `pipeline.evaluation`.
                        min=_finite(value.lower_bound.value)
                        if value.HasField('lower_bound')
                        else None,
                        max=value.upper_bound.value if value.HasField('upper_bound') else None,
                        max_worse=abs(change.absolute.value)
                        if bound.threshold.HasField('change_threshold')
                        else None,
                    )


def _slice_key(slice_key) -> SliceKey:
    pairs = []
    for single in slice_key.single_slice_keys:
        value = getattr(single, single.WhichOneof('kind'))
        pairs.append(
            (
                single.column,
                value.decode('utf-8', 'replace') if isinstance(value, bytes) else str(value),
            )
        )
    return tuple(sorted(pairs))


def _model(key) -> str:
    return DIFFERENCE if key.is_diff else BASELINE if key.model_name == BASELINE else CANDIDATE


def _add_metrics(found: Slice, items: Sequence) -> None:
    values: dict[tuple[str, str], float] = {}
    for model, by, groups in groups_lib.read(items):
        found.groups[BASELINE if model == BASELINE else CANDIDATE, by] = groups
    for item in items:
        kind = item.value.WhichOneof('type')
        if kind == 'double_value':
            values[_model(item.key), item.key.name] = item.value.double_value.value
        elif (
            kind == 'confusion_matrix_at_thresholds'
            and item.key.output_name == FLAG
            and not item.key.is_diff
        ):
            for matrix in item.value.confusion_matrix_at_thresholds.matrices:
                counts = (
                    matrix.true_positives,
                    matrix.false_positives,
                    matrix.false_negatives,
                    matrix.true_negatives,
                )
                found.confusion[_model(item.key)] = Confusion(*map(round, counts))
        elif kind == 'array_value' and item.key.name == reliability.METRIC and not item.key.is_diff:
            found.reliability[_model(item.key), item.key.output_name] = tuple(
                _bins(item.value.array_value.float64_values)
            )
    for (model, name), value in values.items():
        if not (name.endswith((_LOWER, _UPPER)) and (model, name.rpartition('_')[0]) in values):
            # The difference of two ends is not the end of an interval of the difference.
            ends = (
                (None, None)
                if model == DIFFERENCE
                else (values.get((model, f'{name}{end}')) for end in (_LOWER, _UPPER))
            )
            found.figures[model, name] = Figure(_finite(value), *(_finite(end) for end in ends))


def _bins(values: Sequence[float]) -> Iterator[Bin]:
    width = len(reliability.COLUMNS)
    for start in range(0, len(values), width):
        films, *others = values[start : start + width]
        if films:
            yield Bin(round(films), *others)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _add_plots(found: Slice, items: Iterable) -> None:
    for plot in items:
        # The plots of a difference there are none of.
        key = (BASELINE if plot.key.model_name == BASELINE else CANDIDATE, plot.key.output_name)
        before = found.curves.get(key, Curves())
        matrices, buckets = (
            plot.value.confusion_matrix_at_thresholds.matrices,
            plot.value.calibration_histogram_buckets.buckets,
        )
        found.curves[key] = Curves(
            thinned([_counts(matrix) for matrix in matrices]) if matrices else before.matrices,
            merged(buckets, POINTS) if buckets else before.buckets,
        )


def _counts(matrix) -> tuple[float, float, float, float, float]:
    return (
        matrix.threshold,
        matrix.true_positives,
        matrix.false_positives,
        matrix.true_negatives,
        matrix.false_negatives,
    )


def thinned(matrices: list[tuple[float, float, float, float, float]], most: int = POINTS) -> tuple:
    """Those at which the counts change, and of these at most `most`, evenly by the films that they
    flag.
    """
    corners = [
        each
        for place, each in enumerate(matrices)
        if not place or each[1:] != matrices[place - 1][1:]
    ]
    if len(corners) <= most:
        return tuple(corners)
    # Thresholds rise, so the films above them get fewer; negated they rise.
    flagged = [-(each[1] + each[2]) for each in corners]
    wanted = (flagged[0] + (flagged[-1] - flagged[0]) * step / (most - 1) for step in range(most))
    places = sorted(
        {
            0,
            len(corners) - 1,
            *(min(bisect.bisect_left(flagged, value), len(corners) - 1) for value in wanted),
        }
    )
    return tuple(corners[place] for place in places)


def shown_metrics(evaluation: Evaluation) -> list[str]:
    """Metrics with a value in any slice, those that a person asks first in front."""
    there = {
        name
        for each in evaluation.slices
        for (model, name), figure in each.figures.items()
        if model == CANDIDATE and figure.value is not None
    }
    known = [name for name in names.METRICS if name in there]
    return known + sorted(
        name for name in there if name not in names.METRICS and name not in METRICS
    )
