"""Merges the reports of the shards into one, and rejects data that no model can be trained on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from records import origin
from records.metadata import Table
from records.walking import format_counts
from schemas.features import SPLITS
from schemas.problem_names import DAMAGED_RECORD

# Reasons that an error shows; the quarantine's list has all of them.
_SHOWN = 10


class IngestError(ValueError):
    """No model can be trained on the data; the text says what is wrong, where, and what to do."""


def merge(shards: Iterable[str], task: str, label: str) -> tuple[dict, list[dict]]:
    """Merges the reports of the shards.

    Args:
      shards: the report of each shard as JSON, in any order.
      task: the name of the task.
      label: the label of the task; its positives are counted in each split.

    Returns:
      The content of `ingest.json`, and the rows of the quarantine's list.

    Raises:
      IngestError: a record is neither in a split nor in quarantine.
    """
    reports = sorted((json.loads(shard) for shard in shards), key=lambda report: report['name'])
    splits = {split: _split(reports, split, label) for split in SPLITS}
    quarantined = [row for report in reports for row in report['quarantined']]
    content = {
        'records_in': sum(report['records_in'] for report in reports),
        'records_out': sum(split['records'] for split in splits.values()),
        'quarantined': len(quarantined),
        'quarantined_by_kind': dict(Counter(row['kind'] for row in quarantined)),
        'notes': dict(sum((Counter(report['notes']) for report in reports), Counter())),
        'patients': sum(split['patients'] for split in splits.values()),
        'unknown': dict(sum((Counter(report['unknown']) for report in reports), Counter())),
        'origins': origin.summarise(
            sum((Counter(report['origins']) for report in reports), Counter())
        ),
        'mislabelled': sum(report['mislabelled'] for report in reports),
        'task': task,
        'label': label,
        'splits': splits,
        'files': [_file(report) for report in reports],
    }
    for report in reports:
        accepted, rejected = sum(report['records_out'].values()), len(report['quarantined'])
        if report['records_in'] != accepted + rejected:
            raise IngestError(
                f'{report["name"]}: {report["records_in"]} records were read, but {accepted} are '
                f'in the splits and {rejected} in quarantine. This is a bug: please report it.'
            )
    return content, quarantined


def table_summary(table: Table | None) -> dict | None:
    """The path, number of rows and problems of the metadata table; None without a table."""
    if table is None:
        return None
    return {
        'path': table.path,
        'rows': len(table),
        'problems': [str(problem) for problem in table.problems],
    }


def warnings(content: dict) -> list[str]:
    """The warnings about a successful ingestion, one line each.

    Args:
      content: of `ingest.json`.
    """
    lines = []
    if content.get('ignored_files'):
        lines.append(f'files that are not read: {format_counts(Counter(content["ignored_files"]))}')
    if table := content.get('table'):
        lines += [f'{table["path"]}: {problem}' for problem in table['problems']]
        unknown = ', '.join(
            f'{name} {count:,}' for name, count in sorted(content['unknown'].items())
        )
        if unknown:
            lines.append(f'unknown values in {content["records_out"]:,} records: {unknown}')
    for file in content['files']:
        if file['promised'] is not None and file['promised'] != file['held']:
            lines.append(
                f'{file["file"]}: the name promises {file["promised"]} records, the file holds '
                f'{file["held"]}'
            )
    if content['quarantined']:
        kinds = ', '.join(
            f'{kind}: {count}' for kind, count in sorted(content['quarantined_by_kind'].items())
        )
        lines.append(
            f'{content["quarantined"]} of {content["records_in"]} records are in quarantine '
            f'({kinds})'
        )
    return lines


def check(content: dict, quarantined: list[dict], max_quarantine_share: float, where: str) -> None:
    """Checks that the model can be trained on the records.

    Args:
      content: of `ingest.json`.
      quarantined: the rows of the quarantine's list.
      max_quarantine_share: 0..1, largest allowed share of records in quarantine.
      where: path of the quarantine's list, for the message.

    Raises:
      IngestError: too many records are in quarantine, there are no records, or a split has no
        records or only one class.
    """
    examples = ''.join(
        f'\n  {row["file"]}, record {row["record"]} (byte {row["offset"]}): {row["reason"]}'
        for row in quarantined[:_SHOWN]
    )
    more = f'\n  and {len(quarantined) - _SHOWN} more' if len(quarantined) > _SHOWN else ''
    share = content['quarantined'] / max(content['records_in'], 1)
    if share > max_quarantine_share:
        raise IngestError(
            f'{content["quarantined"]} of {content["records_in"]} records cannot be used '
            f'({share:.2%}; allowed {max_quarantine_share:.2%}, data.max_quarantine_share):'
            f'{examples}{more}\nAll of them: {where}'
        )
    if not content['records_out']:
        raise IngestError(
            'the files hold no usable record: '
            f'{", ".join(file["file"] for file in content["files"])}{examples}'
        )
    for name, split in content['splits'].items():
        if not split['records']:
            raise IngestError(
                f'split {name!r} got no records: {content["records_out"]} records of '
                f'{content["patients"]} patients are too few for the shares in '
                'data.split.fractions, or the official lists name none of them'
            )
        if split['positives'] in (0, split['records']):
            only = 'no' if not split['positives'] else 'only'
            raise IngestError(
                f'split {name!r} holds {only} records with {content["label"]}=1 '
                f'({split["records"]} records): each split needs both classes. Use more data, '
                'other shares in data.split.fractions, or another data.split.seed.'
            )


def _split(reports: list[dict], split: str, label: str) -> dict:
    labels = sum((Counter(report['labels'].get(split, {})) for report in reports), Counter())
    patients = set().union(*(report['patients'].get(split, ()) for report in reports))
    return {
        'records': sum(report['records_out'].get(split, 0) for report in reports),
        'patients': len(patients),
        'positives': labels[label],
        'labels': dict(sorted(labels.items())),
    }


def _file(report: dict) -> dict:
    damaged = sum(row['kind'] == DAMAGED_RECORD for row in report['quarantined'])
    return {
        'file': report['name'],
        'promised': report['promised'],
        'held': report['records_in'] - damaged,
        'damaged': damaged,
        'quarantined': len(report['quarantined']),
    }
