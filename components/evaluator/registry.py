"""The registry of metrics: for each, how it is computed, its range, direction, title and needs.

The configuration validates thresholds against it, the Evaluator computes what it lists, and the
terminal, the pages, the model card and the gate take titles and directions from it. To add a
metric, add an entry here and the method that its `statistic` names to `SliceStatistics`.
No NumPy and no TensorFlow here: the configuration is checked before either is imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from schemas.features import AGE_BAND, SEX, VIEW
from schemas.labels import FINDINGS

# The features that images are grouped by -> the title of the feature.
GROUP_TITLES: dict[str, str] = {SEX: 'sex', AGE_BAND: 'age', VIEW: 'view'}
GROUPS: tuple[str, ...] = tuple(GROUP_TITLES)
# Suffix of the ends of an interval: auc_lower and auc_upper belong to auc.
ENDS: tuple[str, ...] = ('lower', 'upper')
_END_TITLES = {'lower': 'lower end', 'upper': 'upper end'}
# Counts of a slice, without an interval -> the title of the count.
IMAGES, NOT_ASSESSED = 'example_count', 'not_assessed'
COUNTS: dict[str, str] = {IMAGES: 'Images', NOT_ASSESSED: 'Images not assessed'}

Direction = Literal['higher', 'lower', 'close to 1']
Kind = Literal['discrimination', 'calibration', 'metadata', 'findings', 'gap']


@dataclass(frozen=True)
class Metric:
    """A metric with an interval by patient, whose ends are NAME_lower and NAME_upper.

    Attributes:
      name: in configurations and in TFMA's results.
      title: for people.
      better: the direction in which it improves.
      statistic: how it is computed; a name that `slice_statistics.SliceStatistics` knows.
      kind: what it says: how well the model separates the classes, how well its probabilities are
        calibrated, what metadata alone predict, how well it does on findings, or how far groups
        are apart.
      low: the smallest possible value.
      high: the largest possible value; infinity if it is unbounded.
      needs_positives: whether it is undefined without positive images.
      needs_negatives: whether it is undefined without negative images.
      needs_metadata: whether it is undefined without known sex, age and view.
      needs_both: whether it is defined but says nothing where all images have the same label: it is
        then 0 or 1, whatever the model.
      group: of a gap, the feature whose values it compares; a gap is undefined where all images
        have the same value.
      finding: the finding that it is about, if it is about a single one.
      gate: whether a threshold can be set on it.
      in_summary: whether the table at the end of a run shows it.
    """

    name: str
    title: str
    better: Direction
    statistic: str
    kind: Kind
    low: float = 0.0
    high: float = 1.0
    needs_positives: bool = False
    needs_negatives: bool = False
    needs_metadata: bool = False
    needs_both: bool = False
    group: str | None = None
    finding: str | None = None
    gate: bool = True
    in_summary: bool = True

    def exists_for(self, findings: tuple[str, ...]) -> bool:
        """Whether it exists for a task with these findings beside its label."""
        if self.kind != 'findings':
            return True
        return self.finding in findings if self.finding else bool(findings)

    @property
    def of_images(self) -> bool:
        """Whether it is about the images alone, whatever the model."""
        return self.kind == 'metadata' and not self.gate

    @property
    def is_gap(self) -> bool:
        """Whether it compares groups."""
        return self.kind == 'gap'

    @property
    def range(self) -> str:
        """The range for people."""
        if math.isinf(self.high):
            return f'{self.low:g} or more'
        return f'from {self.low:g} to {self.high:g}'


def _metadata_auc(name: str, title: str) -> Metric:
    return Metric(
        name,
        title,
        'higher',
        name,
        'metadata',
        needs_positives=True,
        needs_negatives=True,
        needs_metadata=True,
        gate=False,
    )


def _finding(finding: str) -> Metric:
    title = f'AUC of {finding.replace("_", " ")}'
    return Metric(
        f'{finding}_auc', title, 'higher', 'finding_auc', 'findings', finding=finding, gate=False
    )


def _gap(group: str) -> Metric:
    return Metric(
        f'sensitivity_gap_{group}',
        f'Largest gap in sensitivity by {GROUP_TITLES[group]}',
        'lower',
        'sensitivity_gap',
        'gap',
        needs_positives=True,
        needs_metadata=True,
        group=group,
    )


_ALL = (
    Metric(
        'auc',
        'AUC',
        'higher',
        'auc',
        'discrimination',
        needs_positives=True,
        needs_negatives=True,
    ),
    Metric(
        'pr_auc',
        'Average precision',
        'higher',
        'average_precision',
        'discrimination',
        needs_positives=True,
        needs_both=True,
        in_summary=False,
    ),
    Metric(
        'sensitivity',
        'Sensitivity',
        'higher',
        'sensitivity',
        'discrimination',
        needs_positives=True,
    ),
    Metric(
        'specificity',
        'Specificity',
        'higher',
        'specificity',
        'discrimination',
        needs_negatives=True,
    ),
    Metric(
        'precision',
        'Positive predictive value',
        'higher',
        'precision',
        'discrimination',
        needs_both=True,
        in_summary=False,
    ),
    Metric('brier_score', 'Brier score', 'lower', 'brier_score', 'calibration', in_summary=False),
    Metric(
        'calibration_ratio',
        'Calibration ratio',
        'close to 1',
        'calibration_ratio',
        'calibration',
        high=math.inf,
        needs_positives=True,
        in_summary=False,
    ),
    Metric(
        'calibration_error',
        'Expected calibration error',
        'lower',
        'calibration_error',
        'calibration',
    ),
    _metadata_auc('metadata_auc', 'AUC of age, sex and view alone'),
    _metadata_auc('metadata_follow_up_auc', 'AUC of age, sex, view and study number'),
    Metric(
        'auc_over_metadata',
        'AUC above age, sex and view',
        'higher',
        'auc_over_metadata',
        'metadata',
        low=-1.0,
        needs_positives=True,
        needs_negatives=True,
        needs_metadata=True,
        in_summary=False,
    ),
    Metric('macro_auc', 'Mean AUC of findings', 'higher', 'mean_finding_auc', 'findings'),
    *map(_finding, FINDINGS),
    *map(_gap, GROUPS),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
# What a threshold can be set on: metrics, then the ends of their intervals.
GATE_METRICS: tuple[str, ...] = (
    *(name for name, metric in METRICS.items() if metric.gate),
    *(f'{name}_{end}' for name, metric in METRICS.items() if metric.gate for end in ENDS),
)

# Selections for views: one line on a model, the tiles of a page, a table with a row per slice.
HEADLINE: tuple[str, ...] = ('auc', 'sensitivity', 'specificity')
OVERVIEW: tuple[str, ...] = (*HEADLINE, 'calibration_error')
PER_SLICE: tuple[str, ...] = (*(m.name for m in _ALL if m.kind == 'discrimination'), OVERVIEW[-1])


def of_kind(*kinds: Kind) -> tuple[str, ...]:
    """The names of the metrics of these kinds, in the order of the registry."""
    return tuple(name for name, metric in METRICS.items() if metric.kind in kinds)


def find(name: str) -> Metric | None:
    """The metric of this name, or the one that has an end of its interval under this name."""
    base, end = _split(name)
    return METRICS.get(base) if end else METRICS.get(name)


def title(name: str) -> str:
    """The title of a metric, of an end of its interval or of a count; else the name itself."""
    base, end = _split(name)
    if end:
        return f'{METRICS[base].title}, {_END_TITLES[end]}'
    return METRICS[name].title if name in METRICS else COUNTS.get(name, name)


def _split(name: str) -> tuple[str, str]:
    """(metric, end) of the name of an end of an interval; (name, '') of any other name."""
    for end in ENDS:
        base = name.removesuffix(f'_{end}')
        if base != name and base in METRICS:
            return base, end
    return name, ''
