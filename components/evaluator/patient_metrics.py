"""The TFMA metric that computes everything from all images of a slice together.

One combiner collects the model's outputs, a few bytes per image, and computes metrics, intervals by
patient, groups and plots when a slice is complete.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.constants import BASELINE_KEY
from tensorflow_model_analysis.metrics import metric_types

from components.evaluator import bootstrap, changes, groups, plots, registry, reliability
from components.evaluator.bootstrap import Cases
from components.evaluator.figure import Figure
from components.evaluator.slice_statistics import SliceStatistics
from schemas import image_status
from schemas.features import AGE, AGE_BAND, FOLLOW_UP, PATIENT_ID, SEX, VIEW, WEIGHT
from schemas.signatures import FLAG, PROBABILITY, STATUS

_LOGGER = logging.getLogger(__name__)
# What the combiner collects of an image beside the model's outputs and the labels.
_FEATURES = (PATIENT_ID, AGE, AGE_BAND, SEX, VIEW, FOLLOW_UP, WEIGHT)
# Images that wait as Python objects before they become arrays.
_BLOCK = 1024


class PatientMetrics(metric_types.Metric):
    """The metrics of the registry, each as NAME, NAME_lower and NAME_upper.

    An image counts as often as its weight says (`schemas.features.WEIGHT`), except in counts of
    images. A metric that a slice does not define is NaN, which no threshold accepts. The other
    results are the number of images that the model did not assess (`registry.NOT_ASSESSED`; NaN for
    a model without the output `status`), the groups behind each gap (`groups`), the change against
    the served model, if there is one (`changes`), TFMA's plots and confusion matrix (`plots`), and
    the table behind a reliability plot (`reliability`).

    Args:
      label: the 0/1 feature that `probability` and `flag` answer to.
      findings: outputs that are probabilities of the 0/1 feature of the same name.
      replicates: of the bootstrap.
      level: of the intervals.
      min_positives: positive images that a group needs to count for a gap.
    """

    def __init__(
        self,
        label: str,
        findings: Sequence[str] = (),
        replicates: int = 1000,
        level: float = 0.95,
        min_positives: int = 20,
        name: str = 'patient_metrics',
    ):
        super().__init__(
            _computations,
            label=label,
            findings=list(findings),
            replicates=replicates,
            level=level,
            min_positives=min_positives,
            name=name,
        )


metric_types.register_metric(PatientMetrics)


@dataclass(frozen=True)
class _Settings:
    replicates: int
    level: float
    min_positives: int


def _computations(
    label: str,
    findings: list[str],
    replicates: int,
    level: float,
    min_positives: int,
    name: str,
    model_names: list[str] | None = None,
) -> metric_types.MetricComputations:
    settings = _Settings(replicates, level, min_positives)
    # As TFMA sets example_weighted in the keys of a MetricsSpec's thresholds, not its default.
    keys = [
        metric_types.MetricKey(name, model_name=model_name, example_weighted=None)
        for model_name in model_names or ['']
    ]
    features = metric_types.FeaturePreprocessor([*_FEATURES, label, *findings])
    computations: metric_types.MetricComputations = []
    for key in keys:
        has_served = key.model_name != BASELINE_KEY and BASELINE_KEY in (model_names or ())
        combiner = _Combiner(key, label, findings, settings, has_served)
        computations.append(metric_types.MetricComputation([key], [features], combiner))
        computations += plots.derived(key.model_name, findings)
    return computations


@dataclass
class _Collected:
    """The images of a slice: some as tuples of values, the others as arrays by column."""

    waiting: list[tuple] = field(default_factory=list)
    blocks: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def pack(self) -> None:
        """Turns waiting tuples into arrays."""
        if self.waiting:
            self.blocks.append(
                tuple(np.array(column) for column in zip(*self.waiting, strict=True))
            )
            self.waiting = []


class _Combiner(beam.CombineFn):
    """Collects the images of a slice, then computes everything."""

    def __init__(
        self,
        key: metric_types.MetricKey,
        label: str,
        findings: Sequence[str],
        settings: _Settings,
        has_served: bool,
    ):
        self._key, self._label, self._findings, self._settings = (
            key,
            label,
            tuple(findings),
            settings,
        )
        # The outputs of the served model, which a change is measured against.
        self._served = (PROBABILITY, FLAG) if has_served else ()
        self._outputs = (PROBABILITY, FLAG, *findings)
        self._features = (*_FEATURES, label, *findings)

    def create_accumulator(self) -> _Collected:
        """No images."""
        return _Collected()

    def add_input(
        self, accumulator: _Collected, element: metric_types.StandardMetricInputs
    ) -> _Collected:
        """Adds an image."""
        predictions, features = element.get_predictions(self._key.model_name), element.features
        outputs = (np.asarray(predictions[name]).item() for name in self._outputs)
        values = (np.asarray(features[name]).item() for name in self._features)
        served = element.get_predictions(BASELINE_KEY) if self._served else {}
        others = (np.asarray(served[name]).item() for name in self._served)
        accumulator.waiting.append((*outputs, _not_assessed(predictions), *values, *others))
        if len(accumulator.waiting) == _BLOCK:
            accumulator.pack()
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[_Collected]) -> _Collected:
        """The images of all accumulators."""
        merged = _Collected()
        for accumulator in accumulators:
            accumulator.pack()
            merged.blocks += accumulator.blocks
        return merged

    def extract_output(self, accumulator: _Collected) -> dict[metric_types.MetricKey, Any]:
        """All metrics, NaN where one is not defined, and the input of the plots."""
        accumulator.pack()
        if not accumulator.blocks:
            return {}
        columns = [np.concatenate(parts) for parts in zip(*accumulator.blocks, strict=True)]
        # Sort: the order in which Beam delivers the images differs from run to run.
        order = np.lexsort((columns[0], columns[len(self._outputs) + 1]))
        columns = [column[order] for column in columns]
        outputs = dict(zip(self._outputs, columns, strict=False))
        not_assessed, *rest = columns[len(outputs) :]
        features = dict(zip(self._features, rest, strict=False))
        served = dict(zip(self._served, rest[len(features) :], strict=True))
        finite = _finite(outputs)
        if not finite.all():
            _LOGGER.warning(
                '%d of %d outputs of the model are not finite: every metric is undefined',
                (~finite).sum(),
                len(finite),
            )
            # The metrics cannot be computed from such outputs, but TFMA needs each of them by name.
            outputs = {name: np.zeros(len(finite)) for name in outputs}
        figures = _figures(outputs, features, self._label, self._findings, self._settings)
        values: dict[metric_types.MetricKey, Any] = {
            self._key._replace(name=registry.NOT_ASSESSED): float(np.sum(not_assessed))
        }
        for name, figure in figures.items():
            for suffix, value in (
                ('', figure.value),
                ('_lower', figure.lower),
                ('_upper', figure.upper),
            ):
                # TFMA fails a threshold on all slices if one slice lacks the metric; NaN fails it
                # on this slice alone.
                values[self._key._replace(name=f'{name}{suffix}')] = (
                    value if value is not None and finite.all() else math.nan
                )
        if served and finite.all() and _finite(served).all():
            values[changes.key(self._key.model_name)] = self._changes(outputs, served, features)
        return values | self._tables(outputs, features)

    def _changes(
        self,
        outputs: dict[str, np.ndarray],
        served: dict[str, np.ndarray],
        features: dict[str, np.ndarray],
    ) -> np.ndarray:
        """The change against the served model, as TFMA stores it."""
        label, settings = features[self._label], self._settings
        measured = changes.measure(
            Cases(outputs[PROBABILITY], outputs[FLAG], label),
            Cases(served[PROBABILITY], served[FLAG], label),
            features[PATIENT_ID],
            settings.replicates,
            settings.level,
            features[WEIGHT],
        )
        return changes.to_metric(measured)

    def _tables(
        self, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]
    ) -> dict[metric_types.MetricKey, Any]:
        """The input of the plots, and tables by bins of the probability and by groups."""
        model_name, label = self._key.model_name, features[self._label]
        weights = features[WEIGHT]
        tables: dict[metric_types.MetricKey, Any] = plots.at_operating_point(
            model_name, outputs[FLAG], label, weights
        )
        for output, truth in (
            (PROBABILITY, label),
            *((name, features[name]) for name in self._findings),
        ):
            tables[plots.histogram_key(model_name, output)] = plots.histogram(
                outputs[output], truth, weights
            )
        patient, level = features[PATIENT_ID], self._settings.level
        tables[reliability.key(model_name, PROBABILITY)] = reliability.bins(
            outputs[PROBABILITY], label, patient, level, weights
        )
        cases = Cases(outputs[PROBABILITY], outputs[FLAG], label)
        for group in registry.GROUPS:
            measured = groups.measure(
                cases, features[group], patient, self._settings.min_positives, level, weights
            )
            tables[groups.key(model_name, group)] = groups.to_metric(measured)
        return tables


def _not_assessed(predictions: Mapping[str, Any]) -> float:
    """1 for an image with another status than OK, 0 for OK, NaN for a model without statuses."""
    if STATUS not in predictions:
        return math.nan
    return float(np.asarray(predictions[STATUS]).item() != image_status.OK.encode())


def _finite(outputs: dict[str, np.ndarray]) -> np.ndarray:
    """Whether all outputs for an image are finite, bool [n]."""
    return np.all([np.isfinite(values) for values in outputs.values()], axis=0)


def _figures(
    outputs: dict[str, np.ndarray],
    features: dict[str, np.ndarray],
    label: str,
    findings: tuple[str, ...],
    settings: _Settings,
) -> dict[str, Figure]:
    """The metrics of the registry that exist for a task with these findings."""
    images = SliceStatistics(outputs, features, label, findings, settings.min_positives)
    statistics = {
        name: images.of(metric)
        for name, metric in registry.METRICS.items()
        if metric.exists_for(findings)
    }
    return bootstrap.figures(
        statistics,
        features[PATIENT_ID],
        settings.replicates,
        settings.level,
        weights=features[WEIGHT],
    )
