"""How labels go with splits, with simple image statistics, with view and source: the tables, and
the issues in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from components.data_audit.clustered import same_share_p_value
from components.data_audit.issues import Example, Issue
from components.data_audit.parameters import AuditParameters
from components.data_audit.table import Table
from schemas import problem_names as names
from schemas.features import AGE, SEX, UNKNOWN, VIEW
from schemas.labels import LABELS

SOURCE = 'source'


def split_table(table: Table, splits: Sequence[str], files: dict[str, int]) -> list[dict[str, Any]]:
    """A row a split: files, images, patients, and the task label's positives and negatives
    (`unlabelled`: the label is missing).
    """
    rows = []
    for split in splits:
        here = table.split == split
        task = table.task[here]
        rows.append(
            {
                'split': split,
                'files': files.get(split, 0),
                'images': int(here.sum()),
                'patients': len(set(table.patient[here]) - {''}),
                'positive': int((task == 1).sum()),
                'negative': int((task == 0).sum()),
                'unlabelled': int((task < 0).sum()),
            }
        )
    return rows


def split_issues(rows: Sequence[dict[str, Any]]) -> list[Issue]:
    """Splits without images, and splits in which the task label has one value only."""
    empty = [row for row in rows if not row['images']]
    single = [row for row in rows if row['images'] and not (row['positive'] and row['negative'])]

    def issue(kind: str, found: Sequence[dict[str, Any]]) -> Issue:
        examples = [
            Example(
                (),
                {
                    'split': row['split'],
                    'detail': f'{row["images"]} images, {row["positive"]} positive, {row["negative"]} negative',
                },
            )
            for row in found
        ]
        return Issue(
            kind, len(found), len(rows), {row['split']: row['images'] for row in found}, examples
        )

    return [issue(names.EMPTY_SPLIT, empty), issue(names.SINGLE_CLASS_SPLIT, single)]


def prevalence_table(
    table: Table, splits: Sequence[str], parameters: AuditParameters
) -> list[dict[str, Any]]:
    """A row a label: in each split images, positives, patients, patients with a positive,
    prevalence by image; and whether splits differ.

    `p_value` is by patient, see `clustered.same_share_p_value`. `difference` is between the largest
    and the smallest prevalence by image. Splits with fewer than `min_group` patients are left out
    of both; `compared` says so.
    """
    patients = _patients(table)
    columns = {
        parameters.task_label: table.task,
        **{name: table.labels[:, place] for place, name in enumerate(LABELS)},
    }
    rows = []
    for name, values in columns.items():
        cells, compared = _cells(values, table.split, splits, patients, parameters)
        rows.append({'label': name, 'splits': cells, **compared})
    return rows


def prevalence_issue(rows: Sequence[dict[str, Any]]) -> Issue:
    """Labels whose prevalence differs between splits more than chance and the limit allow."""
    flagged = [row for row in rows if row['flagged']]
    examples = []
    for row in flagged:
        rates = ', '.join(
            f'{split} {cell["prevalence"]:.1%}'
            for split, cell in row['splits'].items()
            if cell['images']
        )
        examples.append(
            Example(
                (),
                {'label': row['label'], 'detail': f'{rates} (p = {row["p_value"]:.1g} by patient)'},
            )
        )
    return Issue(names.PREVALENCE_SHIFT, len(flagged), len(rows), {}, examples)


def statistics_table(table: Table, parameters: AuditParameters) -> list[dict[str, Any]]:
    """AUC of each simple statistic for the task label, pooled and within PA and AP; 0.5 tells
    nothing, direction does not matter.

    Statistics of the image (`kind` image) can reach the label only through the source or the
    technique of the film; those of the metadata are the baseline that a model has to beat. None
    where a class has fewer than `min_group` patients.
    """
    number = table.number
    image = {
        'mean grey level': number['mean'],
        'standard deviation': number['std'],
        'contrast range': number['high'] - number['low'],
        'share of black pixels': number['black'],
        'share of white pixels': number['white'],
        'black border': number['border_black'],
        'file size': np.where(table.decoded, table.size, np.nan),
        'JPEG quality': number['quality'],
        'width': number['width'],
        'height': number['height'],
    }
    metadata = {
        AGE: np.where(table.age < 0, np.nan, table.age.astype(float)),
        SEX: np.where(table.sex == UNKNOWN, np.nan, (table.sex == 'F').astype(float)),
        VIEW: np.where(table.view == UNKNOWN, np.nan, (table.view == 'AP').astype(float)),
    }
    patients = _patients(table)
    rows = []
    for kind, columns in (('image', image), ('metadata', metadata)):
        for name, values in columns.items():
            usable = ~np.isnan(values) & (table.task >= 0)
            auc = _auc(values, table.task, usable, patients, parameters.min_group)
            row = {'statistic': name, 'kind': kind, 'images': int(usable.sum()), 'auc': auc}
            for view in ('PA', 'AP'):
                row[f'auc_{view}'] = _auc(
                    values,
                    table.task,
                    usable & (table.view == view),
                    patients,
                    parameters.min_group,
                )
            row['flagged'] = kind == 'image' and auc is not None and auc >= parameters.source_auc
            rows.append(row)
    return rows


def statistics_issue(rows: Sequence[dict[str, Any]]) -> Issue:
    """Image statistics that predict the task label by themselves."""
    compared = [row for row in rows if row['kind'] == 'image' and row['auc'] is not None]
    flagged = [row for row in compared if row['flagged']]
    examples = []
    for row in flagged:
        within = ', '.join(
            f'{row[f"auc_{view}"]:.3f} within {view}'
            for view in ('PA', 'AP')
            if row[f'auc_{view}'] is not None
        )
        detail = f'AUC {row["auc"]:.3f}' + (f' ({within})' if within else '')
        examples.append(Example((), {'statistic': row['statistic'], 'detail': detail}))
    return Issue(names.SOURCE_PREDICTS_LABEL, len(flagged), len(compared), {}, examples)


def groups_table(table: Table, parameters: AuditParameters) -> list[dict[str, Any]]:
    """The task label's prevalence by view and by source (format, mode, size and quantisation tables
    of the file).

    `difference`, `p_value` and `compared` are as in `prevalence_table`.
    """
    patients = _patients(table)
    rows = []
    for by, values in (
        (VIEW, table.view),
        (SOURCE, np.where(table.decoded, table.source, UNKNOWN)),
    ):
        cells, compared = _cells(table.task, values, sorted(set(values)), patients, parameters)
        groups = [{'group': group, **cell} for group, cell in cells.items() if cell['images']]
        rows.append({'by': by, 'groups': groups, **compared})
    return rows


def groups_issue(rows: Sequence[dict[str, Any]]) -> Issue:
    """View or source, where the task label's prevalence differs between their groups."""
    flagged = [row for row in rows if row['flagged']]
    examples = [
        Example(
            (),
            {
                'by': row['by'],
                'detail': ', '.join(
                    f'{cell["group"]} {cell["prevalence"]:.1%} of {cell["images"]}'
                    for cell in row['groups']
                )
                + f' (p = {row["p_value"]:.1g} by patient)',
            },
        )
        for row in flagged
    ]
    return Issue(names.SOURCE_PREVALENCE, len(flagged), len(rows), {}, examples)


def quantile_table(table: Table, splits: Sequence[str]) -> list[dict[str, Any]]:
    """5th, 50th and 95th percentile of the image statistics in each split."""
    rows = []
    for name in ('mean', 'std', 'black', 'white', 'border_black', 'quality', 'polarity'):
        cells = {}
        for split in splits:
            values = table.number[name][(table.split == split) & table.decoded]
            values = values[~np.isnan(values)]
            cells[split] = (
                [round(float(value), 4) for value in np.percentile(values, (5, 50, 95))]
                if len(values)
                else None
            )
        rows.append({'statistic': name, 'splits': cells})
    return rows


def _patients(table: Table) -> np.ndarray:
    """The patient of each image, object [n]; an image without one is a patient of its own."""
    return np.where(
        table.patient == '', np.arange(len(table.patient)).astype(str).astype(object), table.patient
    )


def _cells(
    values: np.ndarray,
    group: np.ndarray,
    names: Sequence[str],
    patients: np.ndarray,
    parameters: AuditParameters,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Counts of a label (1, 0, or below 0 where it is missing) in each group, and whether groups
    with enough patients differ.
    """
    cells = {
        name: _cell(values[here], patients[here], parameters)
        for name in names
        for here in [group == name]
    }
    rates = [cell['prevalence'] for cell in cells.values() if cell['compared']]
    difference = max(rates) - min(rates) if len(rates) > 1 else 0.0
    here = (values >= 0) & np.isin(
        group, [name for name, cell in cells.items() if cell['compared']]
    )
    p_value = same_share_p_value(group[here], values[here], patients[here])
    flagged = (
        difference >= parameters.prevalence_difference and p_value < parameters.prevalence_p_value
    )
    return cells, {'difference': round(difference, 4), 'p_value': p_value, 'flagged': bool(flagged)}


def _cell(values: np.ndarray, patients: np.ndarray, parameters: AuditParameters) -> dict[str, Any]:
    known = values >= 0
    positive = values == 1
    images, of_patients = int(known.sum()), len(set(patients[known]))
    return {
        'images': images,
        'positive': int(positive.sum()),
        'patients': of_patients,
        'patients_positive': len(set(patients[positive])),
        'prevalence': round(float(positive.sum() / images), 4) if images else 0.0,
        'compared': of_patients >= parameters.min_group,
    }


def _auc(
    values: np.ndarray, label: np.ndarray, usable: np.ndarray, patients: np.ndarray, min_group: int
) -> float | None:
    """Area under the ROC curve by ranks (Mann-Whitney), the larger of both directions; None where a
    class has too few patients.
    """
    positive = label[usable] == 1
    first, second = int(positive.sum()), int((~positive).sum())
    if min(len(set(patients[usable][positive])), len(set(patients[usable][~positive]))) < min_group:
        return None
    ranks = rankdata(values[usable])
    area = (ranks[positive].sum() - first * (first + 1) / 2) / (first * second)
    return round(float(max(area, 1 - area)), 4)
