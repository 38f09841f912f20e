"""The data page: data gate, audit, prevalence, and TFDV's statistics, anomalies and schema."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from google.protobuf import text_format
from markupsafe import escape
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.data_audit import kinds
from components.data_audit.artifact import AUDIT_JSON, AUDIT_PAGE, PICTURES_JSON
from components.data_gate.artifact import GATE_JSON, counts_text
from components.data_gate.rules import FAILED, PASSED, UNLIMITED, WARNING
from components.xray_example_gen.artifact import REPORT_FILE
from pages import names, printed
from pages.runs import Run
from pipeline.run_root import RunRoot
from pipeline.steps import AUDIT, CURATED_SCHEMA, DATA_GATE, INGESTION, STATISTICS, VALIDATION
from records.problems import PROBLEMS
from schemas.features import AGE_BAND, SEX, SPLITS, VIEW
from schemas.labels import FINDINGS

_GROUPS = ('split', VIEW, SEX, AGE_BAND)
# Verdict of a rule -> (text, style). How bad a problem is, is its severity, not the verdict.
_GATE_MARKS = {
    FAILED: ('✗ above its limit', 'bad'),
    WARNING: ('◆ found, allowed', 'warning'),
    PASSED: ('✓ within its limit', 'good'),
    UNLIMITED: ('– not found, no limit', 'soft'),
}
# Thumbnails of a problem; the page of the audit has the others.
_PICTURES = 6


@dataclasses.dataclass(frozen=True)
class Statistics:
    """TFDV's statistics.

    Attributes:
      rows: a row for each feature and split.
      proto: the statistics of all splits in base64, for Facets.
    """

    rows: list[list[str]]
    proto: str


def context(run: Run) -> dict[str, Any]:
    """The values of the template data.html; None for each step that the run did not reach."""
    audit, verdict = run.json(AUDIT.name, 'audit', AUDIT_JSON), gate(run)
    return {
        'ingest': run.json(INGESTION.name, 'report', REPORT_FILE),
        'splits': SPLITS,
        'statistics': statistics(run),
        'schema': schema_rows(run),
        'anomalies': anomaly_rows(run),
        'gate': verdict,
        'gate_counts': counts_text(verdict['counts']) if verdict else '',
        'gate_marks': _GATE_MARKS,
        'rule_title': rule_title,
        'audit': audit,
        'problems': problems(audit, run.json(AUDIT.name, 'audit', PICTURES_JSON)),
        'audit_page': audit_page(run),
        'prevalence': prevalence(audit),
        'cooccurrence': cooccurrence(audit),
        'label': names.label,
    }


def rule_title(rule: dict[str, Any]) -> str:
    """What a rule of the data gate looks at, in words."""
    if rule['source'] == 'audit' and rule['name'] in PROBLEMS:
        return PROBLEMS[rule['name']].title
    titles = {
        ('anomalies', 'schema'): 'The statistics differ from the schema',
        ('anomalies', 'data'): 'The split has no examples',
        ('ingest', 'quarantine'): 'Records are in quarantine',
        ('ingest', 'record_count'): 'The name of a file promises another number of records',
        ('ingest', 'films'): 'The audit read another number of images than ingestion wrote',
    }
    return titles.get((rule['source'], rule['name']), f'{rule["source"]}: {rule["name"]}')


def _example(example: dict[str, Any]) -> str:
    """The name of an example of a problem, which is an image or a patient with several."""
    if example.get('images'):
        return f'patient {example["patient"]}'
    return example.get('image_id') or 'no image_id'


def audit_page(run: Run) -> str | None:
    """The file name of the run's copy of the audit's page; None if there is none."""
    return AUDIT_PAGE if run.path(AUDIT.name, 'audit', AUDIT_PAGE) else None


def with_way_back(page: str, run: Run) -> str:
    """The page of the audit with a link to the data page beside it; printed, it names the run."""
    identity = printed.identity(run)
    return page.replace(
        '<!-- back -->',
        f'<style>{printed.style(identity)}</style>'
        f'<p><a href="data.html">← Data of this run</a> {escape(identity)}</p>',
        1,
    )


def problems(
    audit: dict[str, Any] | None, pictures: dict[str, list[list[str]]] | None
) -> list[dict[str, Any]]:
    """The problems that the audit found, errors first, with images and configuration keys.

    Args:
      audit: `audit.json`; None if the run did not finish it.
      pictures: `pictures.json`; None for an audit of an earlier version.
    """
    found = [issue for issue in (audit or {}).get('issues', ()) if issue['count']]
    found.sort(key=lambda issue: issue['severity'] != 'error')
    return [
        {
            **issue,
            'pictures': [
                (f'{_example(example)}: {example["detail"]}', uris)
                for example, uris in zip(
                    issue['examples'], (pictures or {}).get(issue['kind'], ()), strict=False
                )
            ][:_PICTURES],
            'keys': kinds.keys(issue['kind']),
        }
        for issue in found
    ]


def gate(run: Run) -> dict[str, Any] | None:
    """The verdict of DataGate.

    When DataGate stops a run, TFX deletes its outputs; the verdict is then read from its working
    directory.
    """
    verdict = run.json(DATA_GATE.name, 'blessing', GATE_JSON)
    if verdict is None and run.failed_at(DATA_GATE.name):
        # Only the message has the name of the folder; the metadata store does not.
        match = re.search(rf'stateful_working_dir/([\w-]+)/{GATE_JSON}', ' '.join(run.reasons))
        path = (
            RunRoot(run.root).artifacts
            / DATA_GATE.name
            / '.system'
            / 'stateful_working_dir'
            / (match[1] if match else '')
            / GATE_JSON
        )
        if match and path.exists():
            verdict = json.loads(path.read_text(encoding='utf-8'))
    if verdict:
        order = list(_GATE_MARKS)
        verdict['rules'].sort(key=lambda rule: order.index(rule['verdict']))
    return verdict


def broken_limits(run: Run) -> list[str]:
    """Each rule with which the data gate stopped a run, in one sentence; empty if it did not."""
    try:
        verdict = gate(run) if run.failed_at(DATA_GATE.name) else None
    except (OSError, ValueError, KeyError, TypeError):  # damaged; the run has the reason too
        return []
    return [
        f'{rule_title(rule)}: {rule["text"].partition("; e.g.")[0]}'
        for rule in (verdict['rules'] if verdict else ())
        if rule['verdict'] == FAILED
    ]


def statistics(run: Run) -> Statistics | None:
    """The statistics of all splits."""
    artifact = run.artifact(STATISTICS.name, 'statistics')
    if artifact is None:
        return None
    combined = statistics_pb2.DatasetFeatureStatisticsList()
    rows: list[list[str]] = []
    for split in _splits(artifact):
        path = os.path.join(artifact.path, f'Split-{split}', 'FeatureStats.pb')
        if not os.path.exists(path):
            continue
        with open(path, 'rb') as file:
            for dataset in statistics_pb2.DatasetFeatureStatisticsList.FromString(
                file.read()
            ).datasets:
                dataset.name = split
                combined.datasets.append(dataset)
                rows += [
                    _feature_row(feature, split, dataset.num_examples)
                    for feature in dataset.features
                ]
    rows.sort(key=lambda row: row[0].lower())
    return (
        Statistics(rows, base64.b64encode(combined.SerializeToString()).decode()) if rows else None
    )


def schema_rows(run: Run) -> list[list[str]] | None:
    """The curated schema, with a row for each feature: name, type, values, presence, domain."""
    path = run.path(CURATED_SCHEMA.name, 'schema', 'schema.pbtxt')
    if path is None:
        return None
    with open(path, encoding='utf-8') as file:
        schema = text_format.Parse(file.read(), schema_pb2.Schema(), allow_unknown_field=True)
    domains = {domain.name: list(domain.value) for domain in schema.string_domain}
    rows = []
    for feature in schema.feature:
        shape = (
            (' × '.join(str(dim.size) for dim in feature.shape.dim) or '1')
            if feature.HasField('shape')
            else ''
        )
        count = shape or f'{feature.value_count.min} to {feature.value_count.max or "any"}'
        presence = f'{feature.presence.min_fraction:.0%}' if feature.HasField('presence') else 'any'
        rows.append(
            [
                feature.name,
                schema_pb2.FeatureType.Name(feature.type),
                count,
                presence,
                _domain(feature, domains),
            ]
        )
    return rows


def anomaly_rows(run: Run) -> list[list[str]] | None:
    """TFDV's anomalies, with a row for each: split, feature, severity, summary, details."""
    # Registers a message type that the diffs contain.
    from tensorflow_data_validation.anomalies.proto import validation_metadata_pb2  # noqa: F401

    artifact = run.artifact(VALIDATION.name, 'anomalies')
    if artifact is None:
        return None
    severity = anomalies_pb2.AnomalyInfo.Severity.Name
    rows = []
    for split in _splits(artifact):
        path = os.path.join(artifact.path, f'Split-{split}', 'SchemaDiff.pb')
        if os.path.exists(path):
            with open(path, 'rb') as file:
                anomalies = anomalies_pb2.Anomalies.FromString(file.read())
            if anomalies.HasField('dataset_anomaly_info'):
                info = anomalies.dataset_anomaly_info
                rows.append(
                    [
                        split,
                        'data set',
                        severity(info.severity).lower(),
                        info.short_description,
                        info.description,
                    ]
                )
            for name, info in sorted(anomalies.anomaly_info.items()):
                rows.append(
                    [
                        split,
                        name.strip("'"),
                        severity(info.severity).lower(),
                        info.short_description,
                        info.description,
                    ]
                )
    return rows


def prevalence(audit: dict[str, Any] | None) -> dict[str, Any] | None:
    """The share of images with each label, by split, view, sex and age.

    Returns None for an audit of an earlier version, which has no such counts.
    """
    if not audit or not audit.get('populations'):
        return None
    populations = audit['populations']
    populated = [row for row in populations if row['images']]
    task = audit['parameters']['task_label']
    labels = list(dict.fromkeys((task, *populated[0]['positives'])))
    splits = [
        split
        for split in SPLITS
        if any(row['by'] == 'split' and row['group'] == split for row in populations)
    ]
    return {
        'task': task,
        'labels': labels,
        'splits': splits,
        'groups': {
            names.group(key).capitalize(): [
                {**row, 'group': _group(key, row['group'])} for row in populated if row['by'] == key
            ]
            for key in _GROUPS
        },
    }


def cooccurrence(audit: dict[str, Any] | None) -> dict[str, Any] | None:
    """The share of the images with the row's label that also have the column's label.

    Findings that no image has are left out.
    """
    table = (audit or {}).get('cooccurrence')
    if not table:
        return None
    labels, counts = table['labels'], table['counts']
    indices = [
        index for index, name in enumerate(labels) if name in FINDINGS and counts[index][index]
    ]
    if not indices:
        return None
    rows = []
    for row in indices:
        total = counts[row][row]
        cells = [
            {
                'count': counts[row][column],
                'share': counts[row][column] / total,
                'self': row == column,
            }
            for column in indices
        ]
        rows.append({'label': names.label(labels[row]), 'total': total, 'cells': cells})
    return {'labels': [names.label(labels[index]) for index in indices], 'rows': rows}


def _group(by: str, value: str) -> str:
    return value if by == 'split' else names.value(by, value)


def _splits(artifact) -> list[str]:
    try:
        splits = json.loads(artifact.properties.get('split_names', '[]'))
    except ValueError:
        splits = []
    return sorted(
        splits, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name)
    )


def _feature_row(feature, split: str, examples: int) -> list[str]:
    kind = statistics_pb2.FeatureNameStatistics.Type.Name(feature.type).lower()
    stats = getattr(feature, feature.WhichOneof('stats')) if feature.WhichOneof('stats') else None
    missing = examples - (stats.common_stats.num_non_missing if stats else 0)
    name = feature.name or '/'.join(feature.path.step)
    return [
        name,
        split,
        kind,
        f'{examples:,}',
        f'{missing / examples:.2%}' if examples else '–',
        '; '.join(_values(feature)),
    ]


def _values(feature) -> Iterator[str]:
    if feature.HasField('num_stats'):
        stats = feature.num_stats
        yield (
            f'{stats.min:.4g} to {stats.max:.4g}, mean {stats.mean:.4g}, median '
            f'{stats.median:.4g}, zeros {stats.num_zeros:,}'
        )
    elif feature.HasField('string_stats'):
        stats = feature.string_stats
        if stats.unique:
            yield f'{stats.unique:,} distinct'
        top = [
            f'{top_value.value[:40]} ({top_value.frequency:,.0f})'
            for top_value in stats.top_values[:4]
            if top_value.value.isprintable()
        ]
        if top and stats.unique <= 100:
            yield ', '.join(top)
    elif feature.HasField('bytes_stats'):
        stats = feature.bytes_stats
        yield f'{stats.unique:,} distinct, {stats.avg_num_bytes:,.0f} bytes on average'


def _domain(feature, domains: dict[str, list[str]]) -> str:
    kind = feature.WhichOneof('domain_info')
    if kind == 'domain':
        return ', '.join(domains.get(feature.domain, [feature.domain]))
    if kind == 'string_domain':
        return ', '.join(feature.string_domain.value)
    if kind in ('int_domain', 'float_domain'):
        domain = getattr(feature, kind)
        low = f'{domain.min:g}' if domain.HasField('min') else '−∞'
        return f'{low} to {f"{domain.max:g}" if domain.HasField("max") else "∞"}'
    return (kind or '').replace('_', ' ')
