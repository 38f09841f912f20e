"""The issues of an audit: counts, shares, splits and examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.data_audit.kinds import KINDS
from components.data_audit.table import Table


@dataclass(frozen=True)
class Example:
    """An example of an issue.

    Attributes:
      rows: its rows of the table, for thumbnails.
      where: its entry in `audit.json`.
    """

    rows: tuple[int, ...]
    where: dict[str, Any]


@dataclass
class Issue:
    """The result of looking for one kind of issue.

    Attributes:
      kind: a key of `kinds.KINDS`.
      count: how many of the kind's unit have the issue.
      total: how many of the unit there are.
      splits: split -> images with the issue.
      examples: some of them.
    """

    kind: str
    count: int
    total: int
    splits: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    @property
    def share(self) -> float:
        """`count` divided by `total`; 0 if `total` is 0."""
        return self.count / self.total if self.total else 0.0


def locate(table: Table, row: int) -> dict[str, Any]:
    """The id, patient, split, file name and 0-based record number of an image."""
    shard = table.shards[int(table.shard[row])]
    return {
        'image_id': table.image_id[row] or None,
        'patient': table.patient[row] or None,
        'split': shard.split,
        'file': shard.path.rsplit('/', 1)[-1],
        'record': int(table.index[row]),
    }


def of_images(
    table: Table, kind: str, rows: Sequence[int] | np.ndarray, details: Iterable[str], listed: int
) -> Issue:
    """An issue of single images.

    Args:
      table: of all images.
      kind: of the issue.
      rows: int [m], the images with the issue.
      details: a text for each of `rows`.
      listed: largest number of examples.
    """
    rows = [int(row) for row in rows]
    examples = [
        Example((row,), {**locate(table, row), 'detail': detail})
        for row, detail in zip(rows[:listed], details, strict=False)
    ]
    return Issue(kind, len(rows), len(table), by_split(table, rows), examples)


def of_groups(
    table: Table, kind: str, groups: Sequence[tuple[Sequence[int], str]], listed: int
) -> Issue:
    """An issue of groups of images, such as copies; it counts the images in all groups.

    Args:
      table: of all images.
      kind: of the issue.
      groups: rows and a text for each group.
      listed: largest number of examples, and of further images in each.
    """
    rows = sorted({int(row) for members, _ in groups for row in members})
    examples = []
    for members, detail in groups[:listed]:
        first, *rest = (int(row) for row in members)
        where = {
            **locate(table, first),
            'with': [locate(table, row) for row in rest[:listed]],
            'detail': detail,
        }
        examples.append(Example((first, *rest), where))
    return Issue(kind, len(rows), len(table), by_split(table, rows), examples)


def by_split(table: Table, rows: Sequence[int]) -> dict[str, int]:
    """Counts the images of `rows` by split, without splits that have none."""
    return dict(sorted(Counter(table.split[list(rows)]).items())) if len(rows) else {}


def complete(issues: Iterable[Issue]) -> list[Issue]:
    """The issues in the order of KINDS.

    Raises:
      RuntimeError: a kind is missing or unknown, which is a bug.
    """
    by_kind = {issue.kind: issue for issue in issues}
    if set(by_kind) != set(KINDS):
        raise RuntimeError(
            'the checks of the audit and its list of kinds differ: '
            f'{", ".join(sorted(set(by_kind) ^ set(KINDS)))}'
        )
    return [by_kind[name] for name in KINDS]
