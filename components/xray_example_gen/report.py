"""Merges what the shards say into one report, and refuses what nothing good can come from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from records import origin
from records.metadata import Table
from records.walking import format_counts
from schemas.features import SPLITS
from schemas.problem_names import DAMAGED_RECORD

# As many reasons are shown in an error; all of them stand in the quarantine's list.
_SHOWN = 10


class IngestError(ValueError):
    """Data that cannot be trained on; the text says what is wrong, where, and what to do."""


def merge(shards: Iterable[str], task: str, label: str) -> tuple[dict, list[dict]]:
    """Merges the shards' JSON into (`ingest.json`'s content, the quarantine's rows).

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
        kept, aside = sum(report['records_out'].values()), len(report['quarantined'])
        if report['records_in'] != kept + aside:
            raise IngestError(
                f'{report["name"]}: {report["records_in"]} records were read, but {kept} are in '
                'the splits '
                f'and {aside} in quarantine. Nothing may get lost: please report this as a bug.'
            )
    return content, quarantined


def of_table(table: Table | None) -> dict | None:
    """What is to be known of the metadata table: its path, its rows, and what was not understood in
    it.
    """
    if table is None:
        return None
    return {
        'path': table.path,
        'rows': len(table),
        'problems': [str(problem) for problem in table.problems],
    }


def warnings(content: dict) -> list[str]:
    """What a person should know of an ingestion that went through."""
    lines = []
    if content.get('ignored_files'):
        lines.append(f'files that are not read: {format_counts(Counter(content["ignored_files"]))}')
    if table := content.get('table'):
        lines += [f'{table["path"]}: {problem}' for problem in table['problems']]
        unknown = ', '.join(
            f'{name} {count:,}' for name, count in sorted(content['unknown'].items())
        )
        if unknown:
            lines.append(
                f'values that are unknown, of {content["records_out"]:,} records: {unknown}'
            )
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
    """Stops on too much quarantine, no records, or a split without patients or with one class.

    Raises:
      IngestError: see above; `where` (the quarantine's directory) is named in it.
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
                f'{content["patients"]} patients are too few for '
                'the shares in data.split.fractions, or the official lists name none of them'
            )
        if split['positives'] in (0, split['records']):
            only = 'no' if not split['positives'] else 'only'
            raise IngestError(
                f'split {name!r} holds {only} records with {content["label"]}=1 '
                f'({split["records"]} records): both classes are needed '
                'in each split. More data, other shares in data.split.fractions or another '
                'data.split.seed help.'
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
