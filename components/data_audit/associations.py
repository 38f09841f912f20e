"""How labels go with splits, with simple image statistics, with view and source: the tables, and the issues in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import chi2_contingency, rankdata

from components.data_audit.issues import Example, Issue
from components.data_audit.parameters import AuditParameters
from components.data_audit.table import Table
from trainer.features import AGE, SEX, UNKNOWN, VIEW
from trainer.labels import LABELS

SOURCE = 'source'


def split_table(table: Table, splits: Sequence[str], files: dict[str, int]) -> list[dict[str, Any]]:
    """A row a split: files, images, patients, and the task label's positives and negatives (`unlabelled`: the label is missing)."""
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
                (), {'split': row['split'], 'detail': f'{row["images"]} images, {row["positive"]} positive, {row["negative"]} negative'}
            )
            for row in found
        ]
        return Issue(kind, len(found), len(rows), {row['split']: row['images'] for row in found}, examples)

    return [issue('empty_split', empty), issue('single_class_split', single)]


def prevalence_table(table: Table, splits: Sequence[str], parameters: AuditParameters) -> list[dict[str, Any]]:
    """A row a label: in each split images, positives, patients, patients with a positive, prevalence by image; and whether splits differ.

    `p_value` is of a chi-square test on patients (a patient is positive if one of the images is), since images of a patient are
    not independent. `difference` is between the largest and the smallest prevalence by image. Splits with fewer than `min_group` images
    are left out of both.
    """
    groups = {split: np.flatnonzero(table.split == split) for split in splits}
    patients = np.where(table.patient == '', np.arange(len(table)).astype(str).astype(object), table.patient)
    columns = {parameters.task_label: table.task, **{name: table.labels[:, place] for place, name in enumerate(LABELS)}}
    rows = []
    for name, values in columns.items():
        cells = {split: _cell(values[members], patients[members]) for split, members in groups.items()}
        compared = [cell for cell in cells.values() if cell['images'] >= parameters.min_group]
        rates = [cell['prevalence'] for cell in compared]
        difference = max(rates) - min(rates) if len(rates) > 1 else 0.0
        p_value = _chi_square([(cell['patients_positive'], cell['patients'] - cell['patients_positive']) for cell in compared])
        flagged = difference >= parameters.prevalence_difference and p_value < parameters.prevalence_p_value
        rows.append({'label': name, 'splits': cells, 'difference': round(difference, 4), 'p_value': p_value, 'flagged': bool(flagged)})
    return rows


def prevalence_issue(rows: Sequence[dict[str, Any]]) -> Issue:
    """Labels whose prevalence differs between splits more than chance and the limit allow."""
    flagged = [row for row in rows if row['flagged']]
    examples = []
    for row in flagged:
        rates = ', '.join(f'{split} {cell["prevalence"]:.1%}' for split, cell in row['splits'].items() if cell['images'])
        examples.append(Example((), {'label': row['label'], 'detail': f'{rates} (p = {row["p_value"]:.1g} by patient)'}))
    return Issue('prevalence_shift', len(flagged), len(rows), {}, examples)


def statistics_table(table: Table, parameters: AuditParameters) -> list[dict[str, Any]]:
    """AUC of each simple statistic for the task label, pooled and within PA and AP; 0.5 tells nothing, direction does not matter.

    Statistics of the image (`kind` image) can reach the label only through the source or the technique of the film; those of the metadata
    are the baseline that a model has to beat. None where a class has fewer than `min_group` images.
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
    rows = []
    for kind, columns in (('image', image), ('metadata', metadata)):
        for name, values in columns.items():
            usable = ~np.isnan(values) & (table.task >= 0)
            auc = _auc(values, table.task, usable, parameters.min_group)
            row = {'statistic': name, 'kind': kind, 'images': int(usable.sum()), 'auc': auc}
            row |= {f'auc_{view}': _auc(values, table.task, usable & (table.view == view), parameters.min_group) for view in ('PA', 'AP')}
            row['flagged'] = kind == 'image' and auc is not None and auc >= parameters.source_auc
            rows.append(row)
    return rows


def statistics_issue(rows: Sequence[dict[str, Any]]) -> Issue:
    """Image statistics that predict the task label by themselves."""
    compared = [row for row in rows if row['kind'] == 'image' and row['auc'] is not None]
    flagged = [row for row in compared if row['flagged']]
    examples = []
    for row in flagged:
        within = ', '.join(f'{row[f"auc_{view}"]:.3f} within {view}' for view in ('PA', 'AP') if row[f'auc_{view}'] is not None)
        detail = f'AUC {row["auc"]:.3f}' + (f' ({within})' if within else '')
        examples.append(Example((), {'statistic': row['statistic'], 'detail': detail}))
    return Issue('source_predicts_label', len(flagged), len(compared), {}, examples)


def groups_table(table: Table, parameters: AuditParameters) -> list[dict[str, Any]]:
    """The task label's prevalence by view and by source (format, mode, size and quantisation tables of the file)."""
    rows = []
    for by, values in ((VIEW, table.view), (SOURCE, np.where(table.decoded, table.source, UNKNOWN))):
        cells = []
        for group in sorted(set(values)):
            task = table.task[(values == group) & (table.task >= 0)]
            if len(task):
                cells.append(
                    {'group': group, 'images': len(task), 'positive': int((task == 1).sum()), 'prevalence': round(float(task.mean()), 4)}
                )
        compared = [cell for cell in cells if cell['images'] >= parameters.min_group]
        rates = [cell['prevalence'] for cell in compared]
        difference = max(rates) - min(rates) if len(rates) > 1 else 0.0
        p_value = _chi_square([(cell['positive'], cell['images'] - cell['positive']) for cell in compared])
        flagged = difference >= parameters.prevalence_difference and p_value < parameters.prevalence_p_value
        rows.append({'by': by, 'groups': cells, 'difference': round(difference, 4), 'p_value': p_value, 'flagged': bool(flagged)})
    return rows


def groups_issue(rows: Sequence[dict[str, Any]]) -> Issue:
    """View or source, where the task label's prevalence differs between their groups."""
    flagged = [row for row in rows if row['flagged']]
    examples = [
        Example(
            (),
            {
                'by': row['by'],
                'detail': ', '.join(f'{cell["group"]} {cell["prevalence"]:.1%} of {cell["images"]}' for cell in row['groups']),
            },
        )
        for row in flagged
    ]
    return Issue('source_prevalence', len(flagged), len(rows), {}, examples)


def quantile_table(table: Table, splits: Sequence[str]) -> list[dict[str, Any]]:
    """5th, 50th and 95th percentile of the image statistics in each split."""
    rows = []
    for name in ('mean', 'std', 'black', 'white', 'border_black', 'quality', 'polarity'):
        cells = {}
        for split in splits:
            values = table.number[name][(table.split == split) & table.decoded]
            values = values[~np.isnan(values)]
            cells[split] = [round(float(value), 4) for value in np.percentile(values, (5, 50, 95))] if len(values) else None
        rows.append({'statistic': name, 'splits': cells})
    return rows


def _cell(values: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    known = values >= 0
    positive = values == 1
    images = int(known.sum())
    return {
        'images': images,
        'positive': int(positive.sum()),
        'patients': len(set(patients[known])),
        'patients_positive': len(set(patients[positive])),
        'prevalence': round(float(positive.sum() / images), 4) if images else 0.0,
    }


def _chi_square(counts: Sequence[tuple[int, int]]) -> float:
    """p value of a table of (positive, negative) counts; 1 where nothing can be compared."""
    table = np.array(counts, dtype=float).reshape(-1, 2)
    if len(table) < 2 or not table.sum(axis=0).all() or not table.sum(axis=1).all():
        return 1.0
    return float(chi2_contingency(table)[1])


def _auc(values: np.ndarray, label: np.ndarray, usable: np.ndarray, min_group: int) -> float | None:
    """Area under the ROC curve by ranks (Mann-Whitney), the larger of both directions."""
    positive = label[usable] == 1
    first, second = int(positive.sum()), int((~positive).sum())
    if min(first, second) < min_group:
        return None
    ranks = rankdata(values[usable])
    area = (ranks[positive].sum() - first * (first + 1) / 2) / (first * second)
    return round(float(max(area, 1 - area)), 4)
