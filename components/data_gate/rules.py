"""The rules of DataGate: each compares one property of the data with its limit. No TFX here.

`gate.json`:
  format    2
  blessed   true if no rule failed
  limits    GateLimits
  counts    {failed, warning, passed, unlimited}: number of rules
  page      path of the audit's page with thumbnails
  rules     [{source, name, where, verdict, found, limit, text, action}]
            source   anomalies (TFDV), audit or ingest
            name     the feature, the kind of issue, or the topic of ingestion
            where    the split, or the number of images in each split
            verdict  failed, warning (an issue within its limit or without one), passed, or
                     unlimited (no issue, and no limit that it could exceed)
            found    share 0..1 (audit, quarantine) or distance (drift, skew); null without one
            limit    the limit; null if none applies
            text     the rule in words
            action   what to do; '' if nothing
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.data_audit.kinds import FOUND_BY, KINDS, limit_key
from components.data_gate.limits import GateLimits

FAILED, WARNING, PASSED, UNLIMITED = 'failed', 'warning', 'passed', 'unlimited'
FORMAT = 2
_SHOWN = 3  # examples of an issue in a message
_TFDV_ACTION = 'Correct the data, or the curated schema if the data is right.'
_COUNT_ACTION = 'The examples differ from what ingestion wrote: delete their folder and run again.'
_FILE_ACTION = 'Download the file again, or rename it after its record count.'
_LEVEL_KEY = 'gate.anomaly_level'


class DataGateError(ValueError):
    """The data exceeds a limit; the text has each failed rule with counts, limit and remedy."""


@dataclass(frozen=True)
class Rule:
    """One entry of `rules` in `gate.json`; the module's docstring describes the fields."""

    source: str
    name: str
    where: str
    verdict: str
    found: float | None
    limit: float | str | None
    text: str
    action: str = ''


def audit_rules(audit: Mapping[str, Any], limits: GateLimits) -> list[Rule]:
    """A rule for each kind of issue in `audit.json`, and a failed one if there are no images.

    Args:
      audit: the content of `audit.json`.
      limits: `max_share` is used.

    Raises:
      DataGateError: the audit lacks a kind of issue, because another version wrote it.
    """
    issues = {issue['kind']: issue for issue in audit['issues']}
    missing = sorted(set(KINDS) - set(issues))
    if missing:
        raise DataGateError(
            f'the audit did not look for {", ".join(missing)}: run DataAudit of this version again'
        )
    rules = [_issue_rule(issues[name], limits.max_share.get(name)) for name in KINDS]
    if not audit['images']:
        rules.insert(
            0,
            Rule(
                'audit',
                'images',
                '',
                FAILED,
                0,
                None,
                'there are no images in any split',
                'Check the data root.',
            ),
        )
    return rules


def anomaly_rules(
    anomalies: Mapping[str, anomalies_pb2.Anomalies], limits: GateLimits
) -> list[Rule]:
    """A rule for each anomaly, drift and skew of TFDV, and a passed one for a split without any.

    Args:
      anomalies: split -> its anomalies; without any split, there is one failed rule.
      limits: `anomaly_level` is used.
    """
    if not anomalies:
        text = 'ExampleValidator checked no split'
        return [
            Rule(
                'anomalies',
                'splits',
                '',
                FAILED,
                None,
                limits.anomaly_level,
                text,
                'Give ExampleValidator at least one split.',
            )
        ]
    rules = []
    for split, split_anomalies in anomalies.items():
        split_rules = list(_anomalies(split, split_anomalies, limits.anomaly_level))
        rules += split_rules or [
            Rule('anomalies', 'schema', split, PASSED, None, limits.anomaly_level, 'no anomaly')
        ]
    return rules


def ingest_rules(ingest: Mapping[str, Any]) -> list[Rule]:
    """A rule on quarantine, and a warning for each file whose name promises another record count.

    None of them fails: ingestion itself stops on too much quarantine.

    Args:
      ingest: the content of `ingest.json`.
    """
    total, quarantined = int(ingest['records_in']), int(ingest['quarantined'])
    share = quarantined / total if total else 0.0
    text = (
        f'{quarantined:,} of {total:,} records ({_percent(share)}) are in quarantine '
        '(data.max_quarantine_share)'
    )
    action = 'Fix the records that the quarantine list names, or leave them out with data.exclude.'
    rules = [
        Rule(
            'ingest',
            'quarantine',
            '',
            WARNING if quarantined else PASSED,
            share,
            None,
            text,
            action if quarantined else '',
        )
    ]
    for file in ingest.get('files', ()):
        if file['promised'] is not None and file['promised'] != file['held']:
            text = (
                f'the name promises {file["promised"]:,} records, the file holds {file["held"]:,} '
                f'({file["damaged"]:,} damaged)'
            )
            rules.append(
                Rule(
                    'ingest', 'record_count', file['file'], WARNING, None, None, text, _FILE_ACTION
                )
            )
    return rules


def count_rules(audit: Mapping[str, Any], ingest: Mapping[str, Any]) -> list[Rule]:
    """A failed rule for each split in which the audit did not read as many images as were ingested.

    Args:
      audit: the content of `audit.json`.
      ingest: the content of `ingest.json`.
    """
    rules = []
    audited = {row['split']: int(row['images']) for row in audit.get('splits', ())}
    for split, counts in ingest.get('splits', {}).items():
        if (images := audited.get(split, 0)) != counts['records']:
            text = f'the audit read {images:,} images, ingestion wrote {counts["records"]:,}'
            rules.append(
                Rule('ingest', 'films', split, FAILED, None, 'equal counts', text, _COUNT_ACTION)
            )
    return rules


def verdict(rules: Sequence[Rule], limits: GateLimits, page: str) -> dict[str, Any]:
    """The content of `gate.json`; `page` is the path of the audit's page."""
    counts = {
        name: sum(rule.verdict == name for rule in rules)
        for name in (FAILED, WARNING, PASSED, UNLIMITED)
    }
    return {
        'format': FORMAT,
        'blessed': not counts[FAILED],
        'limits': limits.model_dump(),
        'counts': counts,
        'page': page,
        'rules': [asdict(rule) for rule in rules],
    }


def message(rules: Sequence[Rule], page: str, gate_json: str = '') -> str:
    """The error message about the failed rules.

    Args:
      rules: all rules, at least one of which failed.
      page: path of the audit's page.
      gate_json: path of the `gate.json` that is kept; '' without one.
    """
    failed = [rule for rule in rules if rule.verdict == FAILED]
    warnings = sum(rule.verdict == WARNING for rule in rules)
    lines = [f'the data breaks {len(failed)} of its limits:']
    for rule in failed:
        lines.append(f'  - {line(rule)}')
        if rule.action:
            lines.append(f'    {rule.action}')
    if warnings:
        lines.append(f'Warnings: {warnings}.')
    lines.append(f'Page with examples: {page}')
    if gate_json:
        lines.append(f'All rules: {gate_json}')
    lines.append(
        'The keys in brackets set the limits. A change of a key under gate does not decode the '
        'images again.'
    )
    return '\n'.join(lines)


def line(rule: Rule) -> str:
    """A rule in one line."""
    where = f' [{rule.where}]' if rule.where else ''
    return f'{rule.name}{where}: {rule.text}'


def _issue_rule(issue: Mapping[str, Any], limit: float | None) -> Rule:
    share, count = float(issue['share']), int(issue['count'])
    # At a limit of 0 the count decides: a very small share is rounded to 0.
    exceeded = limit is not None and (count > 0 if limit == 0 else share > limit)
    where = ', '.join(f'{split} {images:,}' for split, images in issue['splits'].items())
    allowed = (
        'no limit' if limit is None else f'allowed {_percent(limit)}'
    ) + f' ({limit_key(issue["kind"])})'
    text = f'{count:,} of {issue["total"]:,} {issue["unit"]} ({_percent(share)}), {allowed}'
    examples = [_example(example) for example in issue['examples'][:_SHOWN]]
    if examples:
        text += f'; e.g. {"; ".join(examples)}'
    unfound = UNLIMITED if limit is None else PASSED
    state = FAILED if exceeded else WARNING if count else unfound
    keys = ', '.join(f'audit.{name}' for name in FOUND_BY.get(issue['kind'], ()))
    action = issue['action'] + (f' Detection depends on {keys}.' if keys else '')
    return Rule('audit', issue['kind'], where, state, share, limit, text, action if count else '')


def _example(example: Mapping[str, Any]) -> str:
    if 'record' not in example:
        name = next(
            (
                str(example[key])
                for key in ('patient', 'label', 'statistic', 'by', 'split')
                if example.get(key)
            ),
            '',
        )
        return f'{name}: {example["detail"]}'
    name = example.get('image_id') or 'no image_id'
    copy = ''.join(
        f' and {other.get("image_id") or "no image_id"} ({other["split"]})'
        for other in example.get('with', ())[:1]
    )
    return f'{name} ({example["split"]}, record {example["record"]}){copy}: {example["detail"]}'


def _anomalies(split: str, anomalies: anomalies_pb2.Anomalies, level: str) -> Iterator[Rule]:
    if anomalies.data_missing:
        text = f'error: this split has no examples or no statistics ({_level(level)})'
        yield Rule(
            'anomalies',
            'data',
            split,
            FAILED if level != 'none' else WARNING,
            None,
            level,
            text,
            'Check why this split is empty.',
        )
    if anomalies.HasField('dataset_anomaly_info'):
        yield _anomaly('data set', split, anomalies.dataset_anomaly_info, level)
    anomalous = set()
    for key in sorted(anomalies.anomaly_info):
        info = anomalies.anomaly_info[key]
        name = '/'.join(info.path.step) or key.strip("'")
        anomalous.add(name)
        yield _anomaly(name, split, info, level)
    for drift_skew in anomalies.drift_skew_info:
        name = '/'.join(drift_skew.path.step)
        measurements = [('drift', value) for value in drift_skew.drift_measurements] + [
            ('skew', value) for value in drift_skew.skew_measurements
        ]
        for change, measured in measurements:
            kind = anomalies_pb2.DriftSkewInfo.Measurement.Type.Name(measured.type)
            text = (
                f'{change} {measured.value:.4f} ({kind}), threshold {measured.threshold:.4f} '
                f'({_level(level)})'
            )
            # Not `value > threshold`: NaN must not pass.
            above = not measured.value <= measured.threshold
            # TFDV also lists a distance above its threshold as an anomaly, whose rule decides.
            state = (
                PASSED
                if not above
                else FAILED
                if level != 'none' and name not in anomalous
                else WARNING
            )
            action = 'Find out what changed between the data sets.' if above else ''
            distance = measured.value if math.isfinite(measured.value) else None
            yield Rule('anomalies', name, split, state, distance, measured.threshold, text, action)


def _anomaly(name: str, split: str, info: anomalies_pb2.AnomalyInfo, level: str) -> Rule:
    severity = anomalies_pb2.AnomalyInfo.Severity
    # An anomaly of unknown severity counts as an error.
    stops = level == 'warning' or (level == 'error' and info.severity != severity.Value('WARNING'))
    kind = severity.Name(info.severity).lower()
    text = (
        f'{kind}: {info.short_description}'
        + (f': {info.description}' if info.description else '')
        + f' ({_level(level)})'
    )
    return Rule(
        'anomalies', name, split, FAILED if stops else WARNING, None, level, text, _TFDV_ACTION
    )


def _level(level: str) -> str:
    return f'{_LEVEL_KEY} is {level}'


def _percent(share: float) -> str:
    return '0 %' if not share else '< 0.001 %' if share < 1e-5 else f'{100 * share:.3g} %'
