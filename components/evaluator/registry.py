"""Every metric of the Evaluator: its title, range, direction and needs. No TensorFlow here.

The configuration refuses gates by this table before anything runs, and the pages take their titles
from it. A test holds it against what `patient_metrics` really returns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from schemas.features import AGE_BAND, SEX, VIEW
from schemas.labels import FINDINGS

GROUPS: tuple[str, ...] = (SEX, AGE_BAND, VIEW)
# Which way a metric improves; 'one': the closer to 1 the better.
Better = Literal['higher', 'lower', 'one']
ENDS: tuple[str, ...] = ('lower', 'upper')
# The groups for people.
GROUP_TITLES: dict[str, str] = {SEX: 'sex', AGE_BAND: 'age', VIEW: 'view'}


@dataclass(frozen=True)
class Metric:
    """A figure with an interval by patient, whose ends are NAME_lower and NAME_upper.

    Attributes:
      name: as TFMA stores it.
      title: for people.
      better: which way it improves.
      low: its smallest possible value.
      high: its largest possible value, infinite where there is none.
      positives: whether it is undefined without positive films.
      negatives: whether it is undefined without negative films.
      metadata: whether it is undefined without known sex, age and view.
      group: the feature whose values it compares, if any; undefined where all films have the same
        value.
      finding: the finding that it is about, if any; worked out for tasks that answer to findings
        alone.
      findings: whether it is about all findings of the task, likewise.
      gate: whether a threshold can be set on it.
    """

    name: str
    title: str
    better: Better
    low: float = 0.0
    high: float = 1.0
    positives: bool = False
    negatives: bool = False
    metadata: bool = False
    group: str | None = None
    finding: str | None = None
    findings: bool = False
    gate: bool = True

    def emitted(self, findings: tuple[str, ...]) -> bool:
        """Whether a task that answers to `findings` beside its label has this metric."""
        return bool(findings) if self.findings else self.finding is None or self.finding in findings

    @property
    def range(self) -> str:
        """The range for people."""
        return (
            f'{self.low:g} or more'
            if math.isinf(self.high)
            else f'from {self.low:g} to {self.high:g}'
        )


_ALL = (
    Metric('auc', 'AUC', 'higher', positives=True, negatives=True),
    Metric('pr_auc', 'Average precision', 'higher', positives=True),
    Metric('sensitivity', 'Sensitivity', 'higher', positives=True),
    Metric('specificity', 'Specificity', 'higher', negatives=True),
    Metric('precision', 'Positive predictive value', 'higher'),
    Metric('brier_score', 'Brier score', 'lower'),
    Metric('calibration_ratio', 'Calibration ratio', 'one', high=math.inf, positives=True),
    Metric('calibration_error', 'Expected calibration error', 'lower'),
    Metric(
        'metadata_auc',
        'AUC of age, sex and view alone',
        'higher',
        positives=True,
        negatives=True,
        metadata=True,
        gate=False,
    ),
    Metric(
        'metadata_follow_up_auc',
        'AUC of these and the follow-up number',
        'higher',
        positives=True,
        negatives=True,
        metadata=True,
        gate=False,
    ),
    Metric(
        'auc_over_metadata',
        'AUC above age, sex and view',
        'higher',
        low=-1.0,
        positives=True,
        negatives=True,
        metadata=True,
    ),
    Metric('macro_auc', 'Mean AUC of findings', 'higher', findings=True),
    *(
        Metric(
            f'{finding}_auc',
            f'AUC of {finding.replace("_", " ")}',
            'higher',
            finding=finding,
            gate=False,
        )
        for finding in FINDINGS
    ),
    *(
        Metric(
            f'sensitivity_gap_{group}',
            f'Largest gap in sensitivity by {GROUP_TITLES[group]}',
            'lower',
            positives=True,
            metadata=True,
            group=group,
        )
        for group in GROUPS
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def find(name: str) -> Metric | None:
    """The metric of a name that may be an end of its interval; None for an unknown name."""
    for end in ENDS:
        base = name.removesuffix(f'_{end}')
        if base != name and base in METRICS:
            return METRICS[base]
    return METRICS.get(name)
