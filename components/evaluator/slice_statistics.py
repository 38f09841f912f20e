"""How each metric of the registry is computed from the images of a slice."""

from __future__ import annotations

import functools

import numpy as np

from components.evaluator import bootstrap, metadata_model
from components.evaluator.bootstrap import Cases, Statistic
from components.evaluator.registry import Metric
from schemas.features import AGE, FOLLOW_UP, PATIENT_ID, SEX, UNKNOWN, VIEW, WEIGHT
from schemas.signatures import FLAG, PROBABILITY


class SliceStatistics:
    """The statistics of the images of a slice.

    `Metric.statistic` names a method of this class, or else a function of `bootstrap` that takes
    `Cases`.

    Args:
      outputs: output of the model -> float [n].
      features: feature -> values [n], in any dtype.
      label: the 0/1 feature that `probability` and `flag` answer to.
      findings: outputs that are probabilities of the 0/1 feature of the same name.
      min_positives: positive images that a group needs to count for a gap.
    """

    def __init__(
        self,
        outputs: dict[str, np.ndarray],
        features: dict[str, np.ndarray],
        label: str,
        findings: tuple[str, ...],
        min_positives: int,
    ):
        self._outputs, self._features, self._findings = outputs, features, findings
        self._min_positives = min_positives
        self._cases = Cases(outputs[PROBABILITY], outputs[FLAG], features[label])

    def of(self, metric: Metric) -> Statistic:
        """The statistic of a metric."""
        method = getattr(self, metric.statistic, None)
        return method(metric) if method else getattr(bootstrap, metric.statistic)(self._cases)

    def auc(self, metric: Metric) -> Statistic:
        """Of the task's probability."""
        return bootstrap.auc(self._cases.probability, self._cases.label)

    def average_precision(self, metric: Metric) -> Statistic:
        """Of the task's probability."""
        return bootstrap.average_precision(self._cases.probability, self._cases.label)

    def sensitivity_gap(self, metric: Metric) -> Statistic:
        """Between the values of the metric's group."""
        groups = self._features[str(metric.group)]
        return bootstrap.sensitivity_gap(
            self._cases, groups, self._min_positives, unknown=UNKNOWN.encode()
        )

    def finding_auc(self, metric: Metric) -> Statistic:
        """Of the model's output for the metric's finding."""
        return self._finding_auc(str(metric.finding))

    def mean_finding_auc(self, metric: Metric) -> Statistic:
        """The mean over the findings of the task."""
        return bootstrap.mean([self._finding_auc(finding) for finding in self._findings])

    def metadata_auc(self, metric: Metric) -> Statistic:
        """Of a regression on age, sex and view."""
        return self._metadata_auc

    def metadata_follow_up_auc(self, metric: Metric) -> Statistic:
        """Of a regression on age, sex, view and follow-up number."""
        return self._regression_auc(self._features[FOLLOW_UP])

    def auc_over_metadata(self, metric: Metric) -> Statistic:
        """The model's AUC minus that of a regression on age, sex and view."""
        return bootstrap.difference(self.auc(metric), self._metadata_auc)

    def _finding_auc(self, finding: str) -> Statistic:
        return bootstrap.auc(self._outputs[finding], self._features[finding])

    @functools.cached_property
    def _metadata_auc(self) -> Statistic:
        return self._regression_auc(None)

    def _regression_auc(self, follow_up: np.ndarray | None) -> Statistic:
        """Undefined where the images are too few to fit a regression."""
        age, sex, view = (self._features[name] for name in (AGE, SEX, VIEW))
        columns = metadata_model.columns(age, sex, view, follow_up)
        scores = metadata_model.cross_fitted(
            columns, self._cases.label, self._features[PATIENT_ID], self._features[WEIGHT]
        )
        if scores is None:
            return bootstrap.undefined
        return bootstrap.auc(scores, self._cases.label)
