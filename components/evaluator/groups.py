"""Sensitivity of each group behind a sensitivity gap: which groups it compares, and which not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from tensorflow_model_analysis.metrics import metric_types

from components.evaluator import shares
from components.evaluator.bootstrap import Cases, compared_groups
from schemas.features import UNKNOWN
from schemas.signatures import FLAG

_PREFIX = 'sensitivity_groups_'


class Group(BaseModel):
    """One group of test films.

    Attributes:
      name: the value of the feature, e.g. F.
      positives: abnormal films, by the label.
      patients: of these films.
      missed: positives that the model did not flag.
      lower, upper: ends of the interval of the sensitivity by patient; None without positives.
      compared: whether the gap takes the group into account.
    """

    model_config = ConfigDict(frozen=True, extra='forbid')

    name: str
    positives: int
    patients: int
    missed: int
    lower: float | None
    upper: float | None
    compared: bool

    @property
    def sensitivity(self) -> float | None:
        """Share of positives that are flagged; None without positives."""
        return 1 - self.missed / self.positives if self.positives else None


class Groups(BaseModel):
    """All groups by one feature; a gap compares those with `min_positives` positives or more."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    min_positives: int
    groups: tuple[Group, ...]

    def worst(self) -> Group | None:
        """The group with the lowest sensitivity, compared or not; None without positives."""
        measured = [group for group in self.groups if group.positives]
        return min(
            measured, key=lambda group: (group.missed / -group.positives, group.name), default=None
        )

    def left_out(self) -> list[Group]:
        """Groups that the gap does not compare."""
        return [group for group in self.groups if not group.compared]

    def worst_words(self) -> str:
        """The worst group for people."""
        worst = self.worst()
        if worst is None:
            return 'no group has a positive film'
        interval = (
            ''
            if worst.lower is None or worst.upper is None
            else f', {worst.lower:.3f} – {worst.upper:.3f}'
        )
        note = '' if worst.compared else '; not in the gap'
        return (
            f'{worst.name}: {worst.sensitivity:.3f}{interval} ({worst.missed} of '
            f'{worst.positives} positives missed{note})'
        )

    def left_out_words(self) -> str:
        """The groups that the gap leaves out, for people; '' when it compares all."""
        few = [
            f'{group.name} ({group.positives})'
            for group in self.left_out()
            if group.name != UNKNOWN
        ]
        unknown = sum(group.positives for group in self.left_out() if group.name == UNKNOWN)
        parts = [f'fewer than {self.min_positives} positives: {", ".join(few)}'] if few else []
        return '; '.join(parts + ([f'group not known: {unknown} positives'] if unknown else []))


def of_films(
    cases: Cases, groups: np.ndarray, patient: np.ndarray, min_positives: int, level: float
) -> Groups:
    """Measures every group.

    Args:
      cases: all films.
      groups: bytes [n], the group of each film.
      patient: any dtype [n].
      min_positives: see `bootstrap.compared_groups`.
      level: of the intervals, which are Wilson's on the effective number of films, see `shares`.
    """
    chosen = compared_groups(groups, cases.label, min_positives, UNKNOWN.encode())
    found = []
    for name in np.unique(groups).tolist():
        here = (groups == name) & (cases.label > 0)
        positives, flagged = int(here.sum()), int((cases.flag[here] > 0).sum())
        lower = upper = None
        if positives:
            number = shares.effective_number(cases.flag[here], patient[here])
            lower, upper = shares.wilson(flagged / positives, number, level)
        found.append(
            Group(
                name=name.decode('utf-8', 'replace'),
                positives=positives,
                patients=len(np.unique(patient[here])),
                missed=positives - flagged,
                lower=lower,
                upper=upper,
                compared=name in chosen,
            )
        )
    return Groups(min_positives=min_positives, groups=tuple(found))


def key(model_name: str, by: str) -> metric_types.MetricKey:
    """Where TFMA has the groups by one feature among its metrics; the value is from `to_metric`."""
    return metric_types.MetricKey(
        f'{_PREFIX}{by}', model_name=model_name, output_name=FLAG, example_weighted=False
    )


def to_metric(found: Groups) -> np.ndarray:
    """Groups as a value that TFMA stores: an array with one text, JSON."""
    return np.array([found.model_dump_json()])


def read(items: Iterable[Any]) -> Iterator[tuple[str, str, Groups]]:
    """(model name, feature, groups) of those among TFMA's metrics of a slice (MetricKeyAndValue
    protos).
    """
    for item in items:
        if item.key.name.startswith(_PREFIX) and not item.key.is_diff:
            (text,) = item.value.array_value.bytes_values
            yield (
                item.key.model_name,
                item.key.name.removeprefix(_PREFIX),
                Groups.model_validate(json.loads(text)),
            )
