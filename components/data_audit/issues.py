"""One kind of issue as it was found: how many, what share, in which splits, and examples."""

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
    """An example of an issue. `rows` are rows of the table, for thumbnails; `where` is what
    audit.json says of it.
    """

    rows: tuple[int, ...]
    where: dict[str, Any]


@dataclass
class Issue:
    """What was found of one kind: `count` out of `total` (in the unit of the kind), by split, with
    examples.
    """

    kind: str
    count: int
    total: int
    splits: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    @property
    def share(self) -> float:
        """`count` over `total`; 0 where there is nothing to count."""
        return self.count / self.total if self.total else 0.0


def locate(table: Table, row: int) -> dict[str, Any]:
    """Where an image stands: id, patient, split, file name and record."""
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
    """An issue of single images; `details` go with `rows`."""
    rows = [int(row) for row in rows]
    examples = [
        Example((row,), {**locate(table, row), 'detail': detail})
        for row, detail in zip(rows[:listed], details, strict=False)
    ]
    return Issue(kind, len(rows), len(table), by_split(table, rows), examples)


def of_groups(
    table: Table, kind: str, groups: Sequence[tuple[Sequence[int], str]], listed: int
) -> Issue:
    """An issue of images that belong together: (rows, detail) of each group; `count` is the number
    of images in any group.
    """
    rows = sorted({int(row) for members, _ in groups for row in members})
    examples = []
    for members, detail in groups[:listed]:
        first, *others = (int(row) for row in members)
        where = {
            **locate(table, first),
            'with': [locate(table, row) for row in others[:listed]],
            'detail': detail,
        }
        examples.append(Example((first, *others), where))
    return Issue(kind, len(rows), len(table), by_split(table, rows), examples)


def by_split(table: Table, rows: Sequence[int]) -> dict[str, int]:
    """Images of `rows` in each split that has any."""
    return dict(sorted(Counter(table.split[list(rows)]).items())) if len(rows) else {}


def complete(issues: Iterable[Issue]) -> list[Issue]:
    """The issues in the order of KINDS.

    Raises:
      RuntimeError: a kind was not looked for. This would be a bug.
    """
    found = {issue.kind: issue for issue in issues}
    if set(found) != set(KINDS):
        raise RuntimeError(
            'the audit looked for other issues than it lists: '
            f'{", ".join(sorted(set(found) ^ set(KINDS)))}'
        )
    return [found[name] for name in KINDS]
