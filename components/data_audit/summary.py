"""Runs all checks on the table of images and collects the content of `audit.json`.

`audit.json`:
  format            1
  parameters        AuditParameters
  images, patients  counts; images include records that could not be read
  decoded           number of images that were decoded
  splits            see components.data_audit.associations.split_table
  issues            [{kind, severity, unit, title, action, count, total, share, splits, examples}]
                    one for each kind of components.data_audit.kinds, even if `count` is 0
                    splits    {split: images}
                    examples  at most `listed_per_kind`; an image has image_id, patient, split,
                              file, record (from 0) and detail; `with` has the copies of it
  prevalence        see components.data_audit.associations.prevalence_table
  statistics        see components.data_audit.associations.statistics_table
  groups            see components.data_audit.associations.groups_table
  quantiles         see components.data_audit.associations.quantile_table
  populations       see components.data_audit.populations.populations_table
  cooccurrence      see components.data_audit.populations.cooccurrence_table
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.data_audit import associations, checks, populations
from components.data_audit.issues import Issue, complete
from components.data_audit.kinds import KINDS
from components.data_audit.parameters import AuditParameters
from components.data_audit.table import Table
from schemas.features import SPLITS

FORMAT = 1


class DataAuditError(ValueError):
    """The audit cannot run with these examples and parameters; issues do not raise it."""


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
      content: of `audit.json`.
      previews: shard number -> numbers of the records that the page needs thumbnails of.
      pictures: kind of issue -> for each example on the page, the (shard, record) of its images.
    """

    content: dict[str, Any]
    previews: dict[int, list[int]]
    pictures: dict[str, list[list[tuple[int, int]]]]


def audit(table: Table, splits: Sequence[str], parameters: AuditParameters) -> Audit:
    """Runs all checks and collects the tables.

    Args:
      table: of all images.
      splits: names of all splits, including empty ones.
      parameters: of the audit.

    Raises:
      DataAuditError: no example has the task label.
    """
    _require_task_label(table, parameters)
    names = sorted(
        splits, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name)
    )
    split_rows = associations.split_table(
        table, names, Counter(shard.split for shard in table.shards.values())
    )
    prevalence = associations.prevalence_table(table, names, parameters)
    statistics = associations.statistics_table(table, parameters)
    groups = associations.groups_table(table, parameters)
    issues = complete(
        [
            *checks.image_issues(table, parameters),
            *checks.duplicate_issues(table, parameters),
            *checks.patient_issues(table, parameters.listed_per_kind),
            *checks.label_issues(table, parameters.listed_per_kind),
            *associations.split_issues(split_rows),
            associations.prevalence_issue(prevalence),
            associations.statistics_issue(statistics),
            associations.groups_issue(groups),
        ]
    )
    content = {
        'format': FORMAT,
        'parameters': parameters.model_dump(),
        'images': len(table),
        'decoded': int(table.decoded.sum()),
        'patients': len(set(table.patient) - {''}),
        'splits': split_rows,
        'issues': [_issue(issue) for issue in issues],
        'prevalence': prevalence,
        'statistics': statistics,
        'groups': groups,
        'quantiles': associations.quantile_table(table, names),
        'populations': populations.populations_table(table, names, parameters),
        'cooccurrence': populations.cooccurrence_table(table),
    }
    pictures = _pictures(table, issues, parameters.examples_per_kind)
    records = {
        record for examples in pictures.values() for example in examples for record in example
    }
    previews: dict[int, list[int]] = {}
    for shard, index in sorted(records):
        previews.setdefault(shard, []).append(index)
    return Audit(content, previews, pictures)


def _issue(issue: Issue) -> dict[str, Any]:
    kind = KINDS[issue.kind]
    return {
        'kind': kind.name,
        'severity': kind.severity,
        'unit': kind.unit,
        'title': kind.title,
        'action': kind.remedy,
        'count': issue.count,
        'total': issue.total,
        'share': round(issue.share, 8),
        'splits': issue.splits,
        'examples': [example.where for example in issue.examples],
    }


def _pictures(
    table: Table, issues: Sequence[Issue], most: int
) -> dict[str, list[list[tuple[int, int]]]]:
    """The (shard, record) of the images on the page; a group of copies shows two of them."""
    return {
        issue.kind: [
            [(int(table.shard[row]), int(table.index[row])) for row in example.rows[:2]]
            for example in issue.examples[:most]
        ]
        for issue in issues
        if issue.count
    }


def _require_task_label(table: Table, parameters: AuditParameters) -> None:
    features = sorted(table.features)
    if not features or np.any(table.task >= 0) or parameters.task_label in features:
        return
    raise DataAuditError(
        f'no example has the task label {parameters.task_label!r} as 0 or 1; the features are '
        f'{", ".join(features)}'
    )
