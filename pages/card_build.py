"""Builds a model card from the artifacts of a run and the texts of `card_text`."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel

from components.data_audit.artifact import AUDIT_JSON
from components.data_gate.artifact import counts_text
from components.evaluator import registry
from components.evaluator.figure import Figure
from components.evaluator.results import CANDIDATE, Slice
from components.serving_check.executor import REPORT
from components.xray_example_gen.artifact import REPORT_FILE
from pages import card_history, card_text, data_page, evaluation_page, label_sources, names
from pages.card import (
    CalibrationPart,
    ModelCard,
    OperatingPointPart,
    Shortcuts,
    complete,
    metric_fields,
)
from pages.lineage import served_version
from pages.measured import Evaluation
from pages.runs import Run
from pipeline.steps import AUDIT, INGESTION, SERVING_CHECK, TRAINER
from schemas.features import VIEW
from trainer.parameters import PRETRAINED


def build(run: Run, evaluation: Evaluation, older: list[Run]) -> ModelCard:
    """Builds the card of a run that completed its Evaluator.

    Args:
      run: the run.
      evaluation: what its Evaluator measured.
      older: the runs before it, newest first, for the history of versions.

    Raises:
      CardError: fields are missing.
    """
    facts = run.model_info or {}
    text = card_text.task_text(str(facts.get('task', run.task.name if run.task else '')))
    audit = run.json(AUDIT.name, 'audit', AUDIT_JSON)
    ingest = run.json(INGESTION.name, 'report', REPORT_FILE)
    stated = run.config.get('card', {})
    data = (
        card_text.data_text(
            ingest.get('origins', {}),
            ingest.get('mislabelled', 0),
            stated.get('population'),
            stated.get('data_licence'),
        )
        if ingest
        else None
    )
    return complete(
        run.label,
        {
            'details': _details(run, facts, stated),
            'intended_use': _use(text, data, stated),
            'data': _data(ingest, text, data, audit, stated),
            'training': _training(facts),
            'evaluation': _evaluation(run, evaluation),
            'calibration': _calibration(facts, evaluation),
            'operating_point': _operating_point(facts, evaluation),
            'shortcuts': _shortcuts(evaluation, audit),
            'decisions': _decisions(run, evaluation),
            'history': card_history.build(run, older),
            'limits': [*text.limits, *data.limits] if text and data else None,
            'licences': _licences(data, facts, stated),
        },
    )


def _statement(stated: dict, key: str) -> str:
    """What the configuration states under `card`, or that nobody stated it."""
    return stated.get(key) or card_text.NOT_STATED.format(key=key)


def _details(run: Run, facts: dict, stated: dict) -> dict:
    served = served_version(run)
    trainer = run.executions.get(TRAINER.name)
    model = run.artifact(TRAINER.name, 'model')
    producer = run.store.producers.get(model.id) if model else None
    training = producer or trainer
    return {
        'name': run.pipeline or None,
        'run': f'{run.label}: {run.note}' if run.note else run.label,
        'version': facts.get('model_version'),
        'served_as': f'version {served.version}'
        if served
        else f'not served: the run ended as "{run.state}"',
        'owner': _statement(stated, 'owner'),
        'contact': _statement(stated, 'contact'),
        'made': f'{training.ended:%Y-%m-%d %H:%M}' if training else None,
        'task': facts.get('task'),
        'positive': facts.get('positive'),
        'negative': facts.get('negative'),
        'outputs': [
            f'probability of {facts.get("positive")}, calibrated',
            'flag at the operating point',
            *(f'probability of {names.label(finding)}' for finding in facts.get('findings') or ()),
        ],
        'network': facts.get('backbone'),
        'input': 'one chest X-ray, JPEG or PNG of any size, resized to '
        f'{facts["image_size"]} × {facts["image_size"]} pixels, greyscale'
        if 'image_size' in facts
        else None,
        'code_digest': facts.get('code_digest'),
        'packages': (served.manifest.packages if served and served.manifest else None)
        or {'tensorflow': facts.get('tensorflow')},
    }


def _use(
    text: card_text.TaskText | None, data: card_text.DataText | None, stated: dict
) -> dict | None:
    if text is None or data is None:
        return None
    return {
        'statement': card_text.RESEARCH_ONLY,
        'primary': text.primary,
        'users': _statement(stated, 'intended_users'),
        'population': data.population,
        'out_of_scope': list(card_text.OUT_OF_SCOPE),
    }


def _data(
    ingest: dict | None,
    text: card_text.TaskText | None,
    data: card_text.DataText | None,
    audit: dict | None,
    stated: dict,
) -> dict | None:
    if ingest is None or data is None:
        return None
    issues = [issue for issue in (audit or {}).get('issues', ()) if issue['count']]
    issue_lines = [
        f'{issue["title"]}: {issue["count"]:,} of {issue["total"]:,} {issue["unit"]}'
        for issue in issues
    ]
    groups: dict[str, dict[str, int]] = {}
    for row in (audit or {}).get('populations', ()):
        if row['by'] != 'split' and row['images']:
            groups.setdefault(row['by'], {})[row['group']] = row['images']
    return {
        'records': ingest['records_in'],
        'quarantined': ingest['quarantined'],
        'patients': ingest['patients'],
        'source': card_text.source_text(ingest.get('origins', {})),
        'sites': _statement(stated, 'sites'),
        'splits': {
            name: {
                'images': split['records'],
                'patients': split['patients'],
                'positives': split['positives'],
            }
            for name, split in ingest['splits'].items()
        },
        'split_rule': card_text.SPLIT_RULE,
        'labels': text.labels if text else None,
        'label_noise': data.label_noise,
        'audit': (issue_lines or ['All images were decoded; no issue was found.'])
        if audit
        else None,
        'groups': groups,
    }


def _training(facts: dict) -> dict | None:
    parameters = facts.get('parameters')
    if not parameters:
        return None
    train = parameters.get('train', {})
    return {
        'backbone': facts.get('backbone'),
        'started_from': _started_from(facts),
        'epochs': train.get('epochs'),
        'seed': train.get('seed'),
        'parameters': parameters,
    }


def _started_from(facts: dict) -> str:
    if start := facts.get('started_from'):
        return f'version {start["version"]}, model {start["model_version"]}'
    return 'ImageNet weights' if facts.get('backbone') in PRETRAINED else 'random weights'


def _interval(figure: Figure) -> dict:
    return {
        'value': figure.value,
        'lower': figure.lower,
        'upper': figure.upper,
        'reason': figure.reason or None,
    }


_EARLIER_VERSION = 'not recorded: an earlier version made this evaluation'


def _evaluation(run: Run, evaluation: Evaluation) -> dict:
    overall = evaluation.overall
    subgroups: dict[str, Any] = {}
    for feature in registry.GROUPS:
        slices = [measured for measured in evaluation.slices if _groups_by(measured, feature)]
        subgroups[feature] = {
            _group_title(measured): {
                name: _interval(measured.figure(name)) for name in registry.HEADLINE
            }
            for measured in slices
        } or f'not measured: evaluation.slices of this run does not include {feature}'
    return {
        'images': evaluation_page.count(overall, registry.IMAGES),
        'not_assessed': evaluation_page.count(overall, registry.NOT_ASSESSED),
        'intervals': f'{100 * evaluation.level:.4g} %, by patient',
        'overall': {
            _metric_title(overall, name): _interval(overall.figure(name))
            for name in registry.of_kind('discrimination', 'findings')
            if overall.is_measured(name) and not overall.says_nothing(name)
        },
        'subgroups': subgroups,
        'gaps': {
            registry.title(name): _gap(overall, name)
            for name in registry.of_kind('gap')
            if overall.is_measured(name)
        },
        'baseline': evaluation_page.baseline_text(run),
        **_label_sources(evaluation),
    }


def _label_sources(evaluation: Evaluation) -> dict:
    """The fields about labels of experts."""
    sources = evaluation.label_sources
    if sources is None:
        return {'expert_labels': 'none: all labels come from reports', 'label_sources': {}}
    return {
        'expert_labels': label_sources.summary(sources),
        'label_sources': {
            registry.title(row.metric): {
                'images': row.images,
                'reports': _interval(row.report),
                'experts': _interval(row.expert),
                'difference': _interval(row.difference),
            }
            for row in sources.metrics
        },
    }


def _groups_by(measured: Slice, feature: str) -> bool:
    return len(measured.key) == 1 and measured.key[0][0] == feature


def _metric_title(overall: Slice, name: str) -> str:
    note = overall.covers(name)
    return registry.title(name) + (f' ({note})' if note else '')


def _gap(overall: Slice, name: str) -> dict:
    groups = overall.groups.get((CANDIDATE, str(registry.METRICS[name].group)))
    return {
        **_interval(overall.figure(name)),
        'lowest': groups.worst_text() if groups else _EARLIER_VERSION,
        'compared': groups.compared_text() if groups else _EARLIER_VERSION,
        'left_out': (groups.left_out_text() or 'none') if groups else _EARLIER_VERSION,
    }


def _metric_values(part: type[BaseModel], overall: Slice) -> dict[str, dict]:
    """The fields of a part that have metrics."""
    return {field: _interval(overall.figure(name)) for field, name in metric_fields(part).items()}


def _group_title(measured: Slice) -> str:
    images = evaluation_page.count(measured, registry.IMAGES) or 0
    return f'{names.slice_title(measured.key)} ({images:,} images)'


def _calibration(facts: dict, evaluation: Evaluation) -> dict:
    # The task's own label is the first.
    fitted: dict[str, Any] = next(iter((facts.get('calibration') or {}).values()), {})
    return {
        'method': 'temperature and offset, by maximum likelihood on the calibration split',
        'temperature': fitted.get('temperature'),
        'offset': fitted.get('offset'),
        **_metric_values(CalibrationPart, evaluation.overall),
    }


def _operating_point(facts: dict, evaluation: Evaluation) -> dict:
    point = facts.get('operating_point') or {}
    confusion = evaluation.overall.confusion.get(CANDIDATE)
    chosen = flagged = None
    if confusion:
        flagged = (
            f'{confusion.flagged:,} of {confusion.positives + confusion.negatives:,} test images; '
            f'{confusion.false_negatives:,} of {confusion.positives:,} positive images are missed'
        )
    if point:
        chosen = (
            f'the calibration split ({point["positives"]:,} positive and {point["negatives"]:,} '
            f'negative images), with sensitivity {point["sensitivity"]:.3f} and specificity '
            f'{point["specificity"]:.3f} there'
        )
    return {
        'threshold': point.get('threshold'),
        'target_sensitivity': point.get('target_sensitivity'),
        'chosen_on': chosen,
        **_metric_values(OperatingPointPart, evaluation.overall),
        'flagged': flagged,
    }


def _shortcuts(evaluation: Evaluation, audit: dict | None) -> dict:
    views = {
        names.slice_title(measured.key): _interval(measured.figure('auc'))
        for measured in evaluation.slices
        if _groups_by(measured, VIEW)
    }
    statistics = [
        row
        for row in (audit or {}).get('statistics', ())
        if row['kind'] == 'image' and row['auc'] is not None
    ]
    strongest = sorted(statistics, key=lambda row: -row['auc'])[:3]
    lines = [
        f'{row["statistic"]} alone: AUC '
        f'{row["auc"]:.3f}{" (flagged by the audit)" if row["flagged"] else ""}'
        for row in strongest
    ]
    return {
        **_metric_values(Shortcuts, evaluation.overall),
        'within_views': views
        or f'not measured: evaluation.slices of this run does not include {VIEW}',
        'image_statistics': (lines or ['One class has too few images for this check.'])
        if audit
        else None,
    }


def _decisions(run: Run, evaluation: Evaluation) -> dict:
    gate = data_page.gate(run)
    served = run.json(SERVING_CHECK.name, 'blessing', REPORT)
    lines = [
        f'{row.metric} of {row.slice}: {row.value}, required {row.required}: '
        f'{"pass" if row.passed else "FAIL"}'
        + (f' ({row.margin or row.note})' if row.margin or row.note else '')
        + (f'; {row.covers}' if row.covers else '')
        for row in evaluation_page.conditions(evaluation)
    ]
    check = counts = None
    if served:
        check = (
            "blessed: its outputs equal the trainer's"
            if served['blessed']
            else 'not blessed: ' + '; '.join(served['reasons'])
        )
    if gate:
        counts = counts_text(gate['counts'])
    return {
        'data_gate': counts,
        'evaluator': lines,
        'serving_check': check,
        'pushed': run.state + (f': {"; ".join(run.reasons)}' if run.reasons else ''),
    }


def _licences(data: card_text.DataText | None, facts: dict, stated: dict) -> list[str] | None:
    if data is None:
        return None
    weights = card_text.NO_WEIGHTS
    if facts.get('backbone') in PRETRAINED:
        path = facts.get('parameters', {}).get('model', {}).get('weights')
        weights = card_text.LICENCE_WEIGHTS.format(
            file=f' ({os.path.basename(path)})' if path else ''
        )
    model = card_text.LICENCE_MODEL.format(terms=_statement(stated, 'licence'))
    return [model, data.licence, weights, card_text.LICENCE_CODE]
