"""Holds what was found in the data against the limits: one rule each, with a verdict. No TFX here.

`gate.json`:
  format    1
  blessed   true when no rule failed
  limits    GateLimits
  counts    {failed, warning, passed}
  page      the audit's page with thumbnails
  rules     [{source, name, where, verdict, found, limit, text, action}]
            source   anomalies (TFDV), audit or ingest
            name     the feature, the kind of issue, or what of ingestion
            where    split, or images by split
            verdict  failed, warning (found, but no limit says stop) or passed
            found    for audit and quarantine a share 0..1, for drift and skew the distance, if it
            is a number; else null limit    what is allowed of it, null when nothing stops
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.data_audit.kinds import KINDS
from components.data_gate.limits import GateLimits

FAILED, WARNING, PASSED = 'failed', 'warning', 'passed'
FORMAT = 1
_SHOWN = 3  # examples of an issue in a message
_TFDV_ACTION = 'Correct the data, or the curated schema if the data is right.'
_COUNT_ACTION = 'The examples are not what ingestion wrote: delete their folder and run again.'
_FILE_ACTION = 'Fetch the file again, or rename it to what it holds.'
_LEVEL_KEY = 'gate.anomaly_level'
# The keys of the audit that decide what counts as an issue, for kinds where there is something to
# set.
FOUND_BY: dict[str, tuple[str, ...]] = {
    'too_large': ('max_pixels',),
    'wrong_size': ('width', 'height'),
    'wrong_channels': ('channels',),
    'wrong_format': ('format',),
    'saturated': ('black_share', 'white_share'),
    'low_contrast': ('low_contrast_range',),
    'inverted_polarity': ('polarity_score',),
    'near_duplicate': ('near_duplicate_correlation',),
    'near_duplicate_across_splits': ('near_duplicate_correlation',),
    'near_duplicate_across_patients': ('near_duplicate_correlation',),
    'prevalence_shift': ('prevalence_difference', 'prevalence_p_value'),
    'source_prevalence': ('prevalence_difference', 'prevalence_p_value'),
    'source_predicts_label': ('source_auc',),
}


class DataGateError(ValueError):
    """The data broke a limit; the text lists what, where, how many, the limit, and what to do."""


@dataclass(frozen=True)
class Rule:
    """One line of `gate.json`; see the head of this module."""

    source: str
    name: str
    where: str
    verdict: str
    found: float | None
    limit: float | str | None
    text: str
    action: str = ''


def audit_rules(audit: Mapping[str, Any], limits: GateLimits) -> list[Rule]:
    """A rule for each kind of issue in `audit.json`, and one that there are images at all.

    Raises:
      DataGateError: the audit lacks a kind that has a limit: it was written by another version.
    """
    found = {issue['kind']: issue for issue in audit['issues']}
    lacking = sorted(set(KINDS) - set(found))
    if lacking:
        raise DataGateError(
            f'the audit did not look for {", ".join(lacking)}: run DataAudit of this version again'
        )
    rules = [_issue_rule(found[name], limits.max_share.get(name)) for name in KINDS]
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
    """A rule for each anomaly, drift and skew of TFDV, or a passed one for a split without any."""
    if not anomalies:
        text = 'ExampleValidator looked at no split'
        return [
            Rule(
                'anomalies',
                'splits',
                '',
                FAILED,
                None,
                limits.anomaly_level,
                text,
                'Leave at least one split in ExampleValidator.',
            )
        ]
    rules = []
    for split, found in anomalies.items():
        of_split = list(_anomalies(split, found, limits.anomaly_level))
        rules += of_split or [
            Rule('anomalies', 'schema', split, PASSED, None, limits.anomaly_level, 'no anomaly')
        ]
    return rules


def ingest_rules(ingest: Mapping[str, Any]) -> list[Rule]:
    """Quarantined records, and files whose name promises another count than they hold: to be seen;
    ingestion has a limit of its own.
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
            action,
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
    """A rule for each split that the audit looked at more or fewer films than ingestion wrote; none
    where both agree.
    """
    rules = []
    seen = {row['split']: int(row['images']) for row in audit.get('splits', ())}
    for split, counts in ingest.get('splits', {}).items():
        if (images := seen.get(split, 0)) != counts['records']:
            text = f'the audit read {images:,} films, ingestion wrote {counts["records"]:,}'
            rules.append(
                Rule('ingest', 'films', split, FAILED, None, 'equal counts', text, _COUNT_ACTION)
            )
    return rules


def verdict(rules: Sequence[Rule], limits: GateLimits, page: str) -> dict[str, Any]:
    """The content of `gate.json`."""
    counts = {
        name: sum(rule.verdict == name for rule in rules) for name in (FAILED, WARNING, PASSED)
    }
    return {
        'format': FORMAT,
        'blessed': not counts[FAILED],
        'limits': limits.model_dump(),
        'counts': counts,
        'page': page,
        'rules': [asdict(rule) for rule in rules],
    }


def message(rules: Sequence[Rule], page: str, kept: str = '') -> str:
    """What to tell the user about the failed rules; `kept` is where gate.json stays."""
    failed = [rule for rule in rules if rule.verdict == FAILED]
    warned = sum(rule.verdict == WARNING for rule in rules)
    lines = [f'the data breaks {len(failed)} of its limits:']
    for rule in failed:
        lines.append(f'  - {line(rule)}')
        if rule.action:
            lines.append(f'    {rule.action}')
    if warned:
        lines.append(f'Warnings besides: {warned}.')
    lines.append(f'Page with examples: {page}')
    if kept:
        lines.append(f'All rules: {kept}')
    lines.append(
        'What may pass is set by the keys in brackets. A change of one under gate does not decode '
        'the images again.'
    )
    return '\n'.join(lines)


def line(rule: Rule) -> str:
    """A rule in one line."""
    where = f' [{rule.where}]' if rule.where else ''
    return f'{rule.name}{where}: {rule.text}'


def _issue_rule(issue: Mapping[str, Any], limit: float | None) -> Rule:
    share, count = float(issue['share']), int(issue['count'])
    # The count decides at a limit of 0: a share may be too small to be written.
    broken = limit is not None and (count > 0 if limit == 0 else share > limit)
    where = ', '.join(f'{split} {images:,}' for split, images in issue['splits'].items())
    allowed = (
        'no limit' if limit is None else f'allowed {_percent(limit)}'
    ) + f' ({_share_key(issue["kind"])})'
    text = f'{count:,} of {issue["total"]:,} {issue["unit"]} ({_percent(share)}), {allowed}'
    shown = [_example(example) for example in issue['examples'][:_SHOWN]]
    if shown:
        text += f'; e.g. {"; ".join(shown)}'
    state = FAILED if broken else WARNING if count else PASSED
    found_by = ', '.join(f'audit.{name}' for name in FOUND_BY.get(issue['kind'], ()))
    action = issue['action'] + (f' What counts is set by {found_by}.' if found_by else '')
    return Rule('audit', issue['kind'], where, state, share, limit, text, action if count else '')


def _share_key(kind: str) -> str:
    return f'gate.max_share.{kind}'


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
    others = ''.join(
        f' and {other.get("image_id") or "no image_id"} ({other["split"]})'
        for other in example.get('with', ())[:1]
    )
    return f'{name} ({example["split"]}, record {example["record"]}){others}: {example["detail"]}'


def _anomalies(split: str, found: anomalies_pb2.Anomalies, level: str) -> Iterator[Rule]:
    if found.data_missing:
        text = (
            f'error: there are no examples in this split, or statistics of none ({_level(level)})'
        )
        yield Rule(
            'anomalies',
            'data',
            split,
            FAILED if level != 'none' else WARNING,
            None,
            level,
            text,
            'Give this split examples.',
        )
    if found.HasField('dataset_anomaly_info'):
        yield _anomaly('data set', split, found.dataset_anomaly_info, level)
    named = set()
    for key in sorted(found.anomaly_info):
        info = found.anomaly_info[key]
        name = '/'.join(info.path.step) or key.strip("'")
        named.add(name)
        yield _anomaly(name, split, info, level)
    for drift_skew in found.drift_skew_info:
        name = '/'.join(drift_skew.path.step)
        measured = [('drift', one) for one in drift_skew.drift_measurements] + [
            ('skew', one) for one in drift_skew.skew_measurements
        ]
        for what, one in measured:
            kind = anomalies_pb2.DriftSkewInfo.Measurement.Type.Name(one.type)
            text = (
                f'{what} {one.value:.4f} ({kind}), threshold {one.threshold:.4f} ({_level(level)})'
            )
            # So that a distance that is not a number does not pass.
            above = not one.value <= one.threshold
            # TFDV lists a distance above its threshold as an anomaly too; that one already decides.
            state = (
                PASSED
                if not above
                else FAILED
                if level != 'none' and name not in named
                else WARNING
            )
            action = 'Find out what changed between the data sets.' if above else ''
            distance = one.value if math.isfinite(one.value) else None
            yield Rule('anomalies', name, split, state, distance, one.threshold, text, action)


def _anomaly(name: str, split: str, info: anomalies_pb2.AnomalyInfo, level: str) -> Rule:
    severity = anomalies_pb2.AnomalyInfo.Severity
    # An anomaly of unknown severity is taken for an error.
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
