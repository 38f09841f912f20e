"""Tables of how labels relate to splits, image statistics, view and source, and their issues."""

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
    """Counts files, images, patients and the values of the task label in each split.

    Args:
      table: of all images.
      splits: names in the order of the rows.
      files: split -> number of files.

    Returns:
      A row per split; `unlabelled` counts images without the task label.
    """
    rows = []
    for split in splits:
        in_split = table.split == split
        task = table.task[in_split]
        rows.append(
            {
                'split': split,
                'files': files.get(split, 0),
                'images': int(in_split.sum()),
                'patients': len(set(table.patient[in_split]) - {''}),
                'positive': int((task == 1).sum()),
                'negative': int((task == 0).sum()),
                'unlabelled': int((task < 0).sum()),
            }
        )
    return rows


def split_issues(rows: Sequence[dict[str, Any]]) -> list[Issue]:
    """Splits without images, and splits in which the task label has only one value."""
    empty = [row for row in rows if not row['images']]
    single = [row for row in rows if row['images'] and not (row['positive'] and row['negative'])]

    def issue(kind: str, affected: Sequence[dict[str, Any]]) -> Issue:
        examples = [
            Example(
                (),
                {
                    'split': row['split'],
                    'detail': f'{row["images"]} images, {row["positive"]} positive, '
                    f'{row["negative"]} negative',
                },
            )
            for row in affected
        ]
        return Issue(
            kind,
            len(affected),
            len(rows),
            {row['split']: row['images'] for row in affected},
            examples,
        )

    return [issue(names.EMPTY_SPLIT, empty), issue(names.SINGLE_CLASS_SPLIT, single)]


def prevalence_table(
    table: Table, splits: Sequence[str], parameters: AuditParameters
) -> list[dict[str, Any]]:
    """Compares the prevalence of each label between splits.

    Returns:
      A row per label. For each split it has the images, positives, patients, patients with a
      positive image, and `prevalence`, the share of positive images, 0..1. `difference` is between
      the largest and the smallest prevalence. `p_value` counts patients, see
      `clustered.same_share_p_value`. Both leave out splits with fewer than `min_group` patients,
      for which `compared` is false.
    """
    patients = _patients(table)
    columns = {
        parameters.task_label: table.task,
        **{name: table.labels[:, column] for column, name in enumerate(LABELS)},
    }
    rows = []
    for name, values in columns.items():
        cells, compared = _cells(values, table.split, splits, patients, parameters)
        rows.append({'label': name, 'splits': cells, **compared})
    return rows


def prevalence_issue(rows: Sequence[dict[str, Any]]) -> Issue:
    """Labels whose prevalence differs between splits by the limit or more, and not by chance."""
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
    """AUC with which each simple statistic predicts the task label.

    An image statistic can predict the label only through the source or the technique of the image.
    The metadata are the baseline that a model has to beat.

    Returns:
      A row per statistic, of `kind` image or metadata, with the AUC over all images and within each
      view. The AUC is the better of both directions, 0.5..1; None where a class has fewer than
      `min_group` patients.
    """
    number = table.number
    image_statistics = {
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
    for kind, columns in (('image', image_statistics), ('metadata', metadata)):
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
    """Image statistics that alone predict the task label."""
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
    """Compares the prevalence of the task label between views, and between sources.

    Returns:
      A row for view and one for source, with their groups. The other columns are as in
      `prevalence_table`.
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
    """View or source, if the prevalence of the task label differs between their groups."""
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
    """The 5th, 50th and 95th percentile of image statistics in each split; None without images."""
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
    """The patient of each image, object [n]; each image without a patient counts as a patient."""
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
    """Counts a label in each group, and compares the groups that have enough patients.

    Args:
      values: int [n], 0 or 1; below 0 where the label is missing.
      group: object [n].
      names: of the groups.
      patients: object [n].
      parameters: of the audit.

    Returns:
      The counts of each group, and the comparison.
    """
    cells = {
        name: _cell(values[in_group], patients[in_group], parameters)
        for name in names
        for in_group in [group == name]
    }
    rates = [cell['prevalence'] for cell in cells.values() if cell['compared']]
    difference = max(rates) - min(rates) if len(rates) > 1 else 0.0
    compared = (values >= 0) & np.isin(
        group, [name for name, cell in cells.items() if cell['compared']]
    )
    p_value = same_share_p_value(group[compared], values[compared], patients[compared])
    flagged = (
        difference >= parameters.prevalence_difference and p_value < parameters.prevalence_p_value
    )
    return cells, {'difference': round(difference, 4), 'p_value': p_value, 'flagged': bool(flagged)}


def _cell(values: np.ndarray, patients: np.ndarray, parameters: AuditParameters) -> dict[str, Any]:
    labelled = values >= 0
    positive = values == 1
    images, patient_count = int(labelled.sum()), len(set(patients[labelled]))
    return {
        'images': images,
        'positive': int(positive.sum()),
        'patients': patient_count,
        'patients_positive': len(set(patients[positive])),
        'prevalence': round(float(positive.sum() / images), 4) if images else 0.0,
        'compared': patient_count >= parameters.min_group,
    }


def _auc(
    values: np.ndarray, label: np.ndarray, usable: np.ndarray, patients: np.ndarray, min_group: int
) -> float | None:
    """Area under the ROC curve by ranks (Mann-Whitney), the larger of both directions.

    None if a class has fewer than `min_group` patients.
    """
    positive = label[usable] == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if min(len(set(patients[usable][positive])), len(set(patients[usable][~positive]))) < min_group:
        return None
    ranks = rankdata(values[usable])
    area = (ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return round(float(max(area, 1 - area)), 4)
