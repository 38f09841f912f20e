"""The sensitivity of each group behind a sensitivity gap, and which groups the gap compares."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from tensorflow_model_analysis.metrics import metric_types

from components.evaluator import shares
from components.evaluator.bootstrap import Cases, compared_groups
from components.evaluator.figure import Figure
from schemas.features import UNKNOWN
from schemas.signatures import FLAG

_PREFIX = 'sensitivity_groups_'


class Group(BaseModel):
    """One group of test images.

    Attributes:
      name: the value of the feature, e.g. F.
      positives: images with label 1.
      patients: number of patients with such images.
      missed: positive images that the model did not flag.
      lower, upper: ends of the interval of the sensitivity by patient; None without positives.
      compared: whether the gap compares the group.
      weighted: the sensitivity with the weights of the images; None if they all weigh the same.
    """

    model_config = ConfigDict(frozen=True, extra='forbid')

    name: str
    positives: int
    patients: int
    missed: int
    lower: float | None
    upper: float | None
    compared: bool
    weighted: float | None = None

    @property
    def sensitivity(self) -> float | None:
        """The share of positive images that are flagged; None without positives."""
        if self.weighted is not None:
            return self.weighted
        return 1 - self.missed / self.positives if self.positives else None

    @property
    def figure(self) -> Figure:
        """The sensitivity with its interval."""
        return Figure(self.sensitivity, self.lower, self.upper)


class Groups(BaseModel):
    """All groups by one feature; a gap compares those with `min_positives` positives or more."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    min_positives: int
    groups: tuple[Group, ...]

    def worst(self) -> Group | None:
        """The group with the lowest sensitivity, compared or not; None without positives."""
        return next(iter(_lowest_first(group for group in self.groups if group.positives)), None)

    def worst_text(self) -> str:
        """The worst group for people."""
        worst = self.worst()
        if worst is None:
            return 'no group has a positive image'
        interval = worst.figure.interval()
        note = '' if worst.compared else '; not in the gap'
        return (
            f'{worst.name}: {worst.figure.value_text()}{f", {interval}" if interval else ""} '
            f'({worst.missed} of {worst.positives} positives missed{note})'
        )

    def compared(self) -> list[Group]:
        """Groups that the gap compares, the one with the lowest sensitivity first."""
        return _lowest_first(group for group in self.groups if group.compared)

    def compared_text(self) -> str:
        """The groups that the gap compares, with their positives, for people."""
        if not any(group.compared for group in self.groups):
            return f'no group has {self.min_positives} positives'
        return f'{self.min_positives} positives or more: {self._names(compared=True)}'

    def left_out_text(self) -> str:
        """The groups that the gap leaves out, for people; '' when it compares all."""
        few, unknown = self._names(compared=False), self._unknown()
        parts = [f'fewer than {self.min_positives} positives: {few}'] if few else []
        return '; '.join(parts + ([f'group unknown: {unknown} positives'] if unknown else []))

    def gap_text(self) -> str:
        """The groups that the gap compares and those that it leaves out, in one sentence."""
        compared, few, unknown = self._names(True), self._names(False), self._unknown()
        parts = [
            f'compared, with {self.min_positives} positives or more: {compared}'
            if compared
            else f'compared: none, as no group has {self.min_positives} positives'
        ]
        if few:
            parts.append(f'left out, with fewer: {few}')
        if unknown:
            parts.append(f'left out, as unknown: {unknown} positives')
        return '; '.join(parts if few or unknown else [*parts, 'none left out'])

    def _names(self, compared: bool) -> str:
        """The known groups that the gap compares, or leaves out, with their positives."""
        return ', '.join(
            f'{group.name} ({group.positives:,})'
            for group in self.groups
            if group.compared == compared and group.name != UNKNOWN
        )

    def _unknown(self) -> int:
        """Positive images whose group is not on record."""
        return sum(group.positives for group in self.groups if group.name == UNKNOWN)


def _lowest_first(groups: Iterable[Group]) -> list[Group]:
    """Groups with positives, the one with the lowest sensitivity first."""
    return sorted(groups, key=lambda group: (group.sensitivity or 0.0, group.name))


def measure(
    cases: Cases,
    groups: np.ndarray,
    patient: np.ndarray,
    min_positives: int,
    level: float,
    weights: np.ndarray | None = None,
) -> Groups:
    """Measures the sensitivity of every group.

    Args:
      cases: all images.
      groups: bytes [n], the group of each image.
      patient: any dtype [n].
      min_positives: see `bootstrap.compared_groups`.
      level: of the intervals, which are Wilson's on the effective number of images, see `shares`.
      weights: how many images each one stands for, float [n]; None for 1 each.
    """
    weights = np.ones(len(groups)) if weights is None else weights
    compared = compared_groups(groups, cases.label, min_positives, UNKNOWN.encode())
    measured = []
    for name in np.unique(groups).tolist():
        inside = (groups == name) & (cases.label > 0)
        positives, flagged = int(inside.sum()), int((cases.flag[inside] > 0).sum())
        lower = upper = weighted = None
        if positives:
            flag, weight = cases.flag[inside] > 0, weights[inside]
            number = shares.effective_number(flag, patient[inside], weight)
            lower, upper = shares.wilson(shares.mean(flag, weight), number, level)
            weighted = shares.mean(flag, weight) if len(np.unique(weight)) > 1 else None
        measured.append(
            Group(
                name=name.decode('utf-8', 'replace'),
                positives=positives,
                patients=len(np.unique(patient[inside])),
                missed=positives - flagged,
                lower=lower,
                upper=upper,
                compared=name in compared,
                weighted=weighted,
            )
        )
    return Groups(min_positives=min_positives, groups=tuple(measured))


def key(model_name: str, by: str) -> metric_types.MetricKey:
    """TFMA's key of the groups by a feature; the value is from `to_metric`."""
    return metric_types.MetricKey(
        f'{_PREFIX}{by}', model_name=model_name, output_name=FLAG, example_weighted=False
    )


def to_metric(groups: Groups) -> np.ndarray:
    """Groups as a value that TFMA stores: str [1], a JSON text."""
    return np.array([groups.model_dump_json()])


def from_metric(item: Any) -> tuple[str, Groups] | None:
    """(feature, groups) of a MetricKeyAndValue proto of TFMA; None for any other metric."""
    if not item.key.name.startswith(_PREFIX) or item.key.is_diff:
        return None
    (text,) = item.value.array_value.bytes_values
    return item.key.name.removeprefix(_PREFIX), Groups.model_validate(json.loads(text))
