"""Reads what the Evaluator measured: the `evaluation` artifact as plain values.

>>> evaluation = read(uri)  # doctest: +SKIP
>>> evaluation.overall.figure('auc').text()  # doctest: +SKIP
'0.913 (0.861 – 0.957)'
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Sequence

from components.evaluator import changes as changes_lib
from components.evaluator import curves as curves_lib
from components.evaluator import groups as groups_lib
from components.evaluator import registry, reliability
from components.evaluator.curves import Curves
from components.evaluator.figure import Figure
from components.evaluator.groups import Groups
from components.evaluator.registry import Metric
from schemas.signatures import FLAG, PROBABILITY

# Models: TFMA's own name for the baseline; `DIFFERENCE` is candidate minus baseline.
CANDIDATE, BASELINE, DIFFERENCE = 'candidate', 'baseline', 'difference'
NO_NUMBERS = 'the model gives values that are not numbers'
# (feature, value) pairs in the order of the features; () is all images.
SliceKey = tuple[tuple[str, str], ...]


class EvaluationError(ValueError):
    """An evaluation cannot be read; the text says which and why."""


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Counts of images at the model's own operating point, each by its weight, rounded."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def positives(self) -> int:
        """Images with label 1."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> int:
        """Images with label 0."""
        return self.true_negatives + self.false_positives

    @property
    def flagged(self) -> int:
        """Images that the model flags."""
        return self.true_positives + self.false_positives


@dataclasses.dataclass(frozen=True)
class Bin:
    """Images with a probability in one range.

    Attributes:
      images: how many.
      mean_probability: of these images.
      share: of positives among them.
      lower, upper: ends of the interval of the share by patient.
    """

    images: int
    mean_probability: float
    share: float
    lower: float
    upper: float


@dataclasses.dataclass
class Slice:
    """What was measured on one slice.

    Attributes:
      key: which slice.
      values: (model, name) -> value of a metric, of an end of its interval or of a count; None
        where it is not defined.
      confusion: by model.
      curves: by (model, output).
      reliability: by (model, output), the bins that hold images.
      groups: by (model, feature), the groups behind a gap.
      changes: by metric, its change against the served model with a paired interval by patient.
    """

    key: SliceKey
    values: dict[tuple[str, str], float | None] = dataclasses.field(default_factory=dict)
    confusion: dict[str, Confusion] = dataclasses.field(default_factory=dict)
    curves: dict[tuple[str, str], Curves] = dataclasses.field(default_factory=dict)
    reliability: dict[tuple[str, str], tuple[Bin, ...]] = dataclasses.field(default_factory=dict)
    groups: dict[tuple[str, str], Groups] = dataclasses.field(default_factory=dict)
    changes: dict[str, Figure] = dataclasses.field(default_factory=dict)

    def value(self, name: str, model: str = CANDIDATE) -> float | None:
        """A metric or an end of its interval; None where it is not defined or not measured."""
        return self.values.get((model, name))

    def figure(self, name: str, model: str = CANDIDATE) -> Figure:
        """A metric with its interval, or why it is not defined; a difference has no interval."""
        value = self.value(name, model)
        if value is None:
            return Figure(None, reason=self.why_undefined(name, model))
        # The difference of two ends is not the end of an interval of the difference.
        suffixes = () if model == DIFFERENCE else registry.ENDS
        return Figure(value, *(self.value(f'{name}_{end}', model) for end in suffixes))

    def why_undefined(self, name: str, model: str = CANDIDATE) -> str:
        """Why a metric, or an end of its interval, has no value; for people."""
        metric = registry.find(name)
        if metric is None or not self.is_measured(metric.name, model):
            return 'not measured'
        if self.value(metric.name, model) is not None:
            return 'no interval: too few patients of a class'
        return next(reason for applies, reason in self._reasons(metric, model) if applies)

    def _reasons(self, metric: Metric, model: str) -> Iterator[tuple[bool, str]]:
        """(whether it applies, reason) why a metric can be undefined; the last one always applies.

        It says what the statistics of `bootstrap` and `SliceStatistics` need.
        """
        yield not self.gives_numbers(model), NO_NUMBERS
        groups = self.groups.get((model, str(metric.group)))
        least = groups.min_positives if groups else 'enough'
        yield metric.is_gap, f'fewer than two groups with {least} positive images'
        yield metric.finding is not None, f'all images have the same label for {metric.finding}'
        if counts := self.confusion.get(model):
            yield metric.needs_positives and not counts.positives, 'no image is positive'
            yield metric.needs_negatives and not counts.negatives, 'no image is negative'
            yield metric.name == 'precision' and not counts.flagged, 'no image is flagged'
        yield (
            metric.kind == 'metadata',
            'too few patients of a class, or all images have the same sex, age and view',
        )
        yield True, 'too few test images of a class'

    def gives_numbers(self, model: str = CANDIDATE) -> bool:
        """Whether the model gave numbers for all images.

        If not, `confusion`, `curves`, `reliability` and `groups` are those of outputs that are 0.
        """
        # Only outputs that are not finite leave this metric undefined.
        return self.values.get((model, 'brier_score'), 0) is not None

    def candidate_groups(self) -> dict[str, Groups]:
        """Feature -> the groups behind its gap, of the candidate; empty without numbers."""
        groups = self.groups if self.gives_numbers() else {}
        return {feature: found for (model, feature), found in groups.items() if model == CANDIDATE}

    def only_class(self, model: str = CANDIDATE) -> str:
        """'positive' or 'negative' if all images have this label, '' if both exist."""
        counts = self.confusion.get(model)
        if counts is None or (counts.positives and counts.negatives):
            return ''
        return 'positive' if counts.positives else 'negative'

    def says_nothing(self, name: str, model: str = CANDIDATE) -> str:
        """Why a metric that is defined says nothing about the model; '' if it says something."""
        metric, only = registry.METRICS.get(name), self.only_class(model)
        return f'all images are {only}' if metric and metric.needs_both and only else ''

    def is_measured(self, name: str, model: str = CANDIDATE) -> bool:
        """Whether the evaluation holds the metric, defined or not."""
        return (model, name) in self.values

    def names(self, model: str = CANDIDATE) -> list[str]:
        """The metrics and counts of a model, in the order of the registry, others at the end."""
        order = list(registry.METRICS)
        return sorted(
            (name for of, name in self.values if of == model and not self._is_end(name, model)),
            key=lambda name: (order.index(name) if name in order else len(order), name),
        )

    def _is_end(self, name: str, model: str) -> bool:
        base, _, end = name.rpartition('_')
        return end in registry.ENDS and (model, base) in self.values

    def covers(self, name: str) -> str:
        """What the candidate's metric compares and leaves out, for people; '' where that is plain.

        Args:
          name: of a metric, or of an end of its interval.
        """
        metric = registry.find(name)
        if metric is None:
            return ''
        if metric.is_gap:
            groups = self.candidate_groups().get(str(metric.group))
            return groups.gap_text() if groups else ''
        if metric.kind == 'findings' and metric.finding is None:
            return self._undefined_findings()
        return ''

    def _undefined_findings(self) -> str:
        measured = [
            (metric.finding, self.value(name))
            for name, metric in registry.METRICS.items()
            if metric.finding and self.is_measured(name)
        ]
        undefined = [finding for finding, value in measured if value is None]
        if not undefined:
            return ''
        return (
            f'of {len(measured) - len(undefined)} findings; too few images of a class: '
            f'{", ".join(map(str, undefined))}'
        )


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What the Evaluator measured.

    Attributes:
      folder: of the artifact.
      slices: the slice of all images first.
    """

    folder: str
    slices: tuple[Slice, ...]

    @property
    def overall(self) -> Slice:
        """All test images."""
        return self.slices[0]

    @functools.cached_property
    def _by_key(self) -> dict[SliceKey, Slice]:
        return {measured.key: measured for measured in self.slices}

    def slice(self, key: SliceKey) -> Slice | None:
        """The slice of this key; None if it has no images or was not measured."""
        return self._by_key.get(key)

    @property
    def has_baseline(self) -> bool:
        """Whether the candidate was compared with a served model."""
        return any(model == BASELINE for model, _ in self.overall.values)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Outputs with curves, `probability` first."""
        outputs = {output for measured in self.slices for _, output in measured.curves}
        return tuple(sorted(outputs, key=lambda output: (output != PROBABILITY, output)))


def read(folder: str, plots: bool = True, overall_only: bool = False) -> Evaluation:
    """Reads an `evaluation` artifact.

    Args:
      folder: of the artifact; any path that TensorFlow can read.
      plots: whether to read the curves too.
      overall_only: whether to read only the slice of all images.

    Raises:
      EvaluationError: the artifact has no metrics over all images.
    """
    import tensorflow_model_analysis as tfma

    slices: dict[SliceKey, Slice] = {}
    for proto in tfma.load_metrics(folder):
        key = _slice_key(proto.slice_key)
        if not (overall_only and key):
            add_metrics(slices.setdefault(key, Slice(key)), proto.metric_keys_and_values)
    for proto in tfma.load_plots(folder) if plots else ():
        key = _slice_key(proto.slice_key)
        if key in slices:
            _add_plots(slices[key], proto.plot_keys_and_values)
    if () not in slices:
        raise EvaluationError(
            f'{folder}: it holds no metrics over all test images, which the Evaluator writes'
        )
    return Evaluation(
        folder,
        tuple(sorted(slices.values(), key=lambda measured: (len(measured.key), measured.key))),
    )


def add_metrics(target: Slice, items: Sequence) -> None:
    """Adds TFMA's metrics of a slice (MetricKeyAndValue protos) to it."""
    for item in items:
        model, kind = _model(item.key), item.value.WhichOneof('type')
        if kind == 'double_value':
            target.values[model, item.key.name] = _finite(item.value.double_value.value)
        elif item.key.is_diff:
            continue
        elif kind == 'confusion_matrix_at_thresholds' and item.key.output_name == FLAG:
            for matrix in item.value.confusion_matrix_at_thresholds.matrices:
                counts = (
                    matrix.true_positives,
                    matrix.false_positives,
                    matrix.false_negatives,
                    matrix.true_negatives,
                )
                target.confusion[model] = Confusion(*map(round, counts))
        elif item.key.name == reliability.METRIC:
            bins = tuple(_bins(item.value.array_value.float64_values))
            target.reliability[model, item.key.output_name] = bins
        elif feature_groups := groups_lib.from_metric(item):
            feature, groups = feature_groups
            target.groups[model, feature] = groups
        elif (changes := changes_lib.from_metric(item)) is not None:
            target.changes.update(changes)


def _slice_key(slice_key) -> SliceKey:
    pairs = []
    for single in slice_key.single_slice_keys:
        value = getattr(single, single.WhichOneof('kind'))
        text = value.decode('utf-8', 'replace') if isinstance(value, bytes) else str(value)
        pairs.append((single.column, text))
    return tuple(sorted(pairs))


def _model(key) -> str:
    return DIFFERENCE if key.is_diff else BASELINE if key.model_name == BASELINE else CANDIDATE


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _bins(values: Sequence[float]) -> Iterator[Bin]:
    width = len(reliability.COLUMNS)
    for start in range(0, len(values), width):
        images, *statistics = values[start : start + width]
        if images:
            yield Bin(round(images), *statistics)


def _add_plots(target: Slice, items: Iterable) -> None:
    for plot in items:
        # There are no plots for differences.
        model = BASELINE if plot.key.model_name == BASELINE else CANDIDATE
        key = (model, plot.key.output_name)
        previous = target.curves.get(key, Curves())
        matrices = plot.value.confusion_matrix_at_thresholds.matrices
        buckets = plot.value.calibration_histogram_buckets.buckets
        target.curves[key] = Curves(
            curves_lib.thinned(list(map(_matrix, matrices))) if matrices else previous.matrices,
            curves_lib.merged(buckets) if buckets else previous.buckets,
        )


def _matrix(proto) -> curves_lib.Matrix:
    return (
        proto.threshold,
        proto.true_positives,
        proto.false_positives,
        proto.true_negatives,
        proto.false_negatives,
    )
