"""TFMA metrics that look at all films of a slice together: intervals by patient, gaps between
groups, what metadata alone give, plots.

One combiner hands the films' answers on, some bytes each; the figures are worked out when a slice
is complete.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types

from components.evaluator import bootstrap, groups, metadata_model, plots, reliability
from components.evaluator.bootstrap import Cases, Figure, Statistic
from schemas.features import AGE, AGE_BAND, FOLLOW_UP, PATIENT_ID, SEX, UNKNOWN, VIEW
from schemas.signatures import FLAG, PROBABILITY

# What is kept of a film beside its answers and labels.
_LOGGER = logging.getLogger(__name__)
_FEATURES = (PATIENT_ID, AGE, AGE_BAND, SEX, VIEW, FOLLOW_UP)
_GROUPS = (SEX, AGE_BAND, VIEW)
# Films that wait as Python objects before they become arrays.
_BLOCK = 1024


class PatientMetrics(metric_types.Metric):
    """Figures NAME with NAME_lower and NAME_upper, the ends of an interval by patient.

    auc, pr_auc (average precision), sensitivity, specificity, precision, brier_score,
    calibration_ratio, calibration_error; sensitivity_gap_GROUP, the largest difference of
    sensitivity between values of sex, age band or view, and all these values by themselves, see
    `groups`; metadata_auc and metadata_follow_up_auc, of a regression on age, sex and view, without
    and with the follow-up number; auc_over_metadata, by how much the model's AUC is above
    metadata_auc; for outputs beside `probability`, FINDING_auc of each and their mean, macro_auc.
    NaN where a slice does not define a figure, which no threshold lets pass. And TFMA's plots and
    confusion matrix, see `plots`, and the table behind a reliability plot, see `reliability`.

    Args:
      label: the 0/1 feature that `probability` and `flag` answer to.
      findings: outputs that are probabilities of the 0/1 feature of the same name.
      replicates: of the bootstrap.
      level: of the intervals.
      min_positives: what a group needs to count for a gap.
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
    # None as TFMA has it in the keys of a MetricsSpec's own thresholds; its default is another.
    keys = [
        metric_types.MetricKey(name, model_name=model_name, example_weighted=None)
        for model_name in model_names or ['']
    ]
    features = metric_types.FeaturePreprocessor([*_FEATURES, label, *findings])
    made: metric_types.MetricComputations = []
    for key in keys:
        made.append(
            metric_types.MetricComputation(
                [key], [features], _Combiner(key, label, findings, settings)
            )
        )
        made += plots.derived(key.model_name, findings)
    return made


@dataclass
class _Collected:
    """The films of a slice: some as tuples of values, the others as arrays by column."""

    waiting: list[tuple] = field(default_factory=list)
    blocks: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def pack(self) -> None:
        """Turns what waits into arrays."""
        if self.waiting:
            self.blocks.append(
                tuple(np.array(column) for column in zip(*self.waiting, strict=True))
            )
            self.waiting = []


class _Combiner(beam.CombineFn):
    """Collects the films of a slice, then works out all figures."""

    def __init__(
        self, key: metric_types.MetricKey, label: str, findings: Sequence[str], settings: _Settings
    ):
        self._key, self._label, self._findings, self._settings = (
            key,
            label,
            tuple(findings),
            settings,
        )
        self._outputs = (PROBABILITY, FLAG, *findings)
        self._features = (*_FEATURES, label, *findings)

    def create_accumulator(self) -> _Collected:
        """No films."""
        return _Collected()

    def add_input(
        self, accumulator: _Collected, element: metric_types.StandardMetricInputs
    ) -> _Collected:
        """Adds a film."""
        answers, features = element.get_predictions(self._key.model_name), element.features
        of_outputs = (np.asarray(answers[name]).item() for name in self._outputs)
        of_features = (np.asarray(features[name]).item() for name in self._features)
        accumulator.waiting.append((*of_outputs, *of_features))
        if len(accumulator.waiting) == _BLOCK:
            accumulator.pack()
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[_Collected]) -> _Collected:
        """All films of several."""
        merged = _Collected()
        for each in accumulators:
            each.pack()
            merged.blocks += each.blocks
        return merged

    def extract_output(self, accumulator: _Collected) -> dict[metric_types.MetricKey, Any]:
        """All figures, NaN where one is not defined, and what the plots are made of."""
        accumulator.pack()
        if not accumulator.blocks:
            return {}
        columns = [np.concatenate(parts) for parts in zip(*accumulator.blocks, strict=True)]
        # In an order of their own: that in which Beam brings the films is another one each time.
        order = np.lexsort((columns[0], columns[len(self._outputs)]))
        columns = [column[order] for column in columns]
        outputs = dict(zip(self._outputs, columns, strict=False))
        features = dict(zip(self._features, columns[len(outputs) :], strict=True))
        finite = _finite(outputs)
        if not finite.all():
            _LOGGER.warning(
                '%d of %d answers of the model are not finite: every figure is undefined',
                (~finite).sum(),
                len(finite),
            )
            # The figures below cannot be worked out from such answers, and TFMA needs each of them
            # by name.
            outputs = {name: np.zeros(len(finite)) for name in outputs}
        figures = _figures(outputs, features, self._label, self._findings, self._settings)
        values = {}
        for name, figure in figures.items():
            for suffix, value in (
                ('', figure.value),
                ('_lower', figure.lower),
                ('_upper', figure.upper),
            ):
                # TFMA takes a metric that is missing from one slice for a threshold that fails on
                # all; no number keeps within a bound.
                values[self._key._replace(name=f'{name}{suffix}')] = (
                    value if value is not None and finite.all() else math.nan
                )
        return values | self._counted(outputs, features)

    def _counted(
        self, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]
    ) -> dict[metric_types.MetricKey, Any]:
        """What the plots are made of, and tables of films: by bins of the probability, by
        groups.
        """
        model_name, label = self._key.model_name, features[self._label]
        found: dict[metric_types.MetricKey, Any] = plots.at_operating_point(
            model_name, outputs[FLAG], label
        )
        for output, truth in (
            (PROBABILITY, label),
            *((name, features[name]) for name in self._findings),
        ):
            found[plots.histogram_key(model_name, output)] = plots.histogram(outputs[output], truth)
        patient, level = features[PATIENT_ID], self._settings.level
        found[reliability.key(model_name, PROBABILITY)] = reliability.bins(
            outputs[PROBABILITY], label, patient, level
        )
        cases = Cases(outputs[PROBABILITY], outputs[FLAG], label)
        for by in _GROUPS:
            of_groups = groups.of_films(
                cases, features[by], patient, self._settings.min_positives, level
            )
            found[groups.key(model_name, by)] = groups.to_metric(of_groups)
        return found


def _finite(outputs: dict[str, np.ndarray]) -> np.ndarray:
    """Which films have finite answers only, bool [n]."""
    return np.all([np.isfinite(answers) for answers in outputs.values()], axis=0)


def _figures(
    outputs: dict[str, np.ndarray],
    features: dict[str, np.ndarray],
    label: str,
    findings: Sequence[str],
    settings: _Settings,
) -> dict[str, Figure]:
    cases = Cases(outputs[PROBABILITY], outputs[FLAG], features[label])
    statistics: dict[str, Statistic] = {
        'auc': bootstrap.auc(cases.probability, cases.label),
        'pr_auc': bootstrap.average_precision(cases.probability, cases.label),
        'sensitivity': bootstrap.sensitivity(cases),
        'specificity': bootstrap.specificity(cases),
        'precision': bootstrap.precision(cases),
        'brier_score': bootstrap.brier_score(cases),
        'calibration_ratio': bootstrap.calibration_ratio(cases),
        'calibration_error': bootstrap.calibration_error(cases),
    }
    for group in _GROUPS:
        gap = bootstrap.sensitivity_gap(
            cases, features[group], settings.min_positives, unknown=UNKNOWN.encode()
        )
        statistics[f'sensitivity_gap_{group}'] = gap
    statistics |= _of_metadata(features, label, statistics['auc'])
    of_findings = {f'{name}_auc': bootstrap.auc(outputs[name], features[name]) for name in findings}
    if findings:
        statistics |= of_findings | {'macro_auc': bootstrap.mean(list(of_findings.values()))}
    return bootstrap.figures(statistics, features[PATIENT_ID], settings.replicates, settings.level)


def _of_metadata(
    features: dict[str, np.ndarray], label: str, of_model: Statistic
) -> dict[str, Statistic]:
    """The AUCs of metadata alone, where there are enough films to fit a regression."""
    statistics: dict[str, Statistic] = {}
    known = features[AGE], features[SEX], features[VIEW]
    for name, columns in (
        ('metadata_auc', metadata_model.columns(*known)),
        ('metadata_follow_up_auc', metadata_model.columns(*known, features[FOLLOW_UP])),
    ):
        scores = metadata_model.cross_fitted(columns, features[label], features[PATIENT_ID])
        statistics[name] = (
            bootstrap.undefined if scores is None else bootstrap.auc(scores, features[label])
        )
    statistics['auc_over_metadata'] = bootstrap.difference(of_model, statistics['metadata_auc'])
    return statistics
