"""Fills a model card from what a run left, and from the words that no run can measure."""

from __future__ import annotations

import os
from typing import Any

from components.data_audit.artifact import AUDIT_JSON
from components.serving_check.executor import REPORT
from components.xray_example_gen.artifact import REPORT_FILE
from pages import card_text, data_page, evaluation_page, names
from pages.card import ModelCard, complete
from pages.lineage import served_version
from pages.measured import CANDIDATE, Evaluation, Figure, Slice
from pages.runs import Run
from schemas.features import AGE_BAND, SEX, VIEW
from schemas.labels import FINDINGS
from trainer.artifacts import FACTS_FILE
from trainer.parameters import PRETRAINED


def build(run: Run, evaluation: Evaluation) -> ModelCard:
    """The card of a run that came to its Evaluator.

    Raises:
      CardError: fields are missing.
    """
    facts = run.json('Trainer', 'model', 'Format-Serving', FACTS_FILE) or {}
    text = card_text.of_task(str(facts.get('task', run.task.name if run.task else '')))
    audit = run.json('DataAudit', 'audit', AUDIT_JSON)
    ingest = run.json('XrayExampleGen', 'report', REPORT_FILE)
    data = (
        card_text.of_data(ingest.get('origins', {}), ingest.get('mislabelled', 0))
        if ingest
        else None
    )
    return complete(
        run.title,
        {
            'details': _details(run, facts),
            'intended_use': _use(text, data),
            'data': _data(ingest, text, data, audit),
            'training': _training(facts),
            'evaluation': _evaluation(run, evaluation),
            'calibration': _calibration(facts, evaluation),
            'operating_point': _operating_point(facts, evaluation),
            'shortcuts': _shortcuts(evaluation, audit),
            'decisions': _decisions(run, evaluation),
            'limits': [*text.limits, *data.limits] if text and data else None,
            'licences': _licences(data, facts),
        },
    )


def _details(run: Run, facts: dict) -> dict:
    served = served_version(run)
    trainer = run.executions.get('Trainer')
    model = run.artifact('Trainer', 'model')
    maker = run.store.makers.get(model.id) if model else None
    made = maker or trainer
    return {
        'name': run.pipeline or None,
        'version': facts.get('model_version'),
        'served_as': f'version {served.version}'
        if served
        else f'not served: the run ended as "{run.state}"',
        'made': f'{made.ended:%Y-%m-%d %H:%M}' if made else None,
        'task': facts.get('task'),
        'positive': facts.get('positive'),
        'negative': facts.get('negative'),
        'outputs': [
            f'probability of {facts.get("positive")}, calibrated',
            'flag at the operating point',
            *(f'probability of {names.label(finding)}' for finding in facts.get('findings') or ()),
        ],
        'network': facts.get('backbone'),
        'input': f'one chest film, JPEG or PNG of any size, seen at {facts["image_size"]} × {facts["image_size"]} pixels, grey'
        if 'image_size' in facts
        else None,
        'code_digest': facts.get('code_digest'),
        'packages': (served.manifest.packages if served and served.manifest else None)
        or {'tensorflow': facts.get('tensorflow')},
    }


def _use(text: card_text.TaskText | None, data: card_text.DataText | None) -> dict | None:
    if text is None or data is None:
        return None
    return {
        'statement': card_text.RESEARCH_ONLY,
        'primary': text.primary,
        'population': data.population,
        'out_of_scope': list(card_text.OUT_OF_SCOPE),
    }


def _data(
    ingest: dict | None,
    text: card_text.TaskText | None,
    data: card_text.DataText | None,
    audit: dict | None,
) -> dict | None:
    if ingest is None or data is None:
        return None
    issues = [issue for issue in (audit or {}).get('issues', ()) if issue['count']]
    found = [
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
        'splits': {
            name: {
                'films': split['records'],
                'patients': split['patients'],
                'positives': split['positives'],
            }
            for name, split in ingest['splits'].items()
        },
        'split_rule': card_text.SPLIT_RULE,
        'labels': text.labels if text else None,
        'label_noise': data.label_noise,
        'audit': (found or ['Every pixel was decoded and nothing was found.']) if audit else None,
        'groups': groups,
    }


def _training(facts: dict) -> dict | None:
    parameters = facts.get('parameters')
    if not parameters:
        return None
    train = parameters.get('train', {})
    return {
        'backbone': facts.get('backbone'),
        'epochs': train.get('epochs'),
        'seed': train.get('seed'),
        'parameters': parameters,
    }


def _interval(figure: Figure) -> dict:
    return {'value': figure.value, 'lower': figure.lower, 'upper': figure.upper}


_OVERALL = ('auc', 'pr_auc', 'sensitivity', 'specificity', 'precision', 'macro_auc')
_EARLIER = 'not on record: the evaluation was made by an earlier version'
_OF_GROUPS = ('auc', 'sensitivity', 'specificity')


def _evaluation(run: Run, evaluation: Evaluation) -> dict:
    overall = evaluation.overall
    wanted = (*_OVERALL, *(f'{finding}_auc' for finding in FINDINGS))
    gaps = [
        name
        for model, name in overall.figures
        if model == CANDIDATE and name.startswith(evaluation_page.GAP)
    ]
    subgroups: dict[str, Any] = {}
    for by in (SEX, AGE_BAND, VIEW):
        slices = [each for each in evaluation.slices if len(each.key) == 1 and each.key[0][0] == by]
        words = f'not measured: evaluation.slices of this run did not ask for {by}'
        subgroups[by] = {
            _group_title(each): {name: _interval(each.figure(name)) for name in _OF_GROUPS}
            for each in slices
        } or words
    return {
        'films': evaluation_page.tfma_points(evaluation),
        'intervals': f'{100 * evaluation.level:.4g} %, by patient',
        'overall': {
            names.metric(name)
            + (
                f' ({note})' if (note := evaluation_page.left_out(evaluation, name)) else ''
            ): _interval(overall.figure(name))
            for name in wanted
            if (CANDIDATE, name) in overall.figures
        },
        'subgroups': subgroups,
        'gaps': {names.metric(name): _gap(overall, name) for name in gaps},
        'baseline': evaluation_page.baseline_words(run),
    }


def _gap(overall: Slice, name: str) -> dict:
    groups = overall.groups.get((CANDIDATE, name.removeprefix(evaluation_page.GAP)))
    words = (
        (groups.worst_words(), groups.left_out_words() or 'none')
        if groups
        else (_EARLIER, _EARLIER)
    )
    return {**_interval(overall.figure(name)), 'lowest': words[0], 'left_out': words[1]}


def _group_title(each: Slice) -> str:
    return f'{each.title} ({round(each.figure("example_count").value or 0):,} films)'


def _calibration(facts: dict, evaluation: Evaluation) -> dict:
    # The task's own label stands first.
    fitted: dict[str, Any] = next(iter((facts.get('calibration') or {}).values()), {})
    return {
        'method': 'temperature and offset, by maximum likelihood on the calibration split',
        'temperature': fitted.get('temperature'),
        'offset': fitted.get('offset'),
        'expected_calibration_error': _interval(evaluation.overall.figure('calibration_error')),
        'calibration_ratio': _interval(evaluation.overall.figure('calibration_ratio')),
        'brier_score': _interval(evaluation.overall.figure('brier_score')),
    }


def _operating_point(facts: dict, evaluation: Evaluation) -> dict:
    point = facts.get('operating_point') or {}
    confusion = evaluation.overall.confusion.get(CANDIDATE)
    chosen = flagged = None
    if confusion:
        flagged = (
            f'{confusion.true_positives + confusion.false_positives:,} of '
            f'{confusion.positives + confusion.negatives:,} test films; '
            f'{confusion.false_negatives:,} of {confusion.positives:,} positive ones are missed'
        )
    if point:
        chosen = (
            f'the calibration split ({point["positives"]:,} positive and {point["negatives"]:,} '
            'negative films): sensitivity '
            f'{point["sensitivity"]:.3f}, specificity {point["specificity"]:.3f} there'
        )
    return {
        'threshold': point.get('threshold'),
        'target_sensitivity': point.get('target_sensitivity'),
        'chosen_on': chosen,
        'sensitivity': _interval(evaluation.overall.figure('sensitivity')),
        'specificity': _interval(evaluation.overall.figure('specificity')),
        'precision': _interval(evaluation.overall.figure('precision')),
        'flagged': flagged,
    }


def _shortcuts(evaluation: Evaluation, audit: dict | None) -> dict:
    overall = evaluation.overall
    views = {
        each.title: _interval(each.figure('auc'))
        for each in evaluation.slices
        if len(each.key) == 1 and each.key[0][0] == VIEW
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
        'metadata_only_auc': _interval(overall.figure('metadata_auc')),
        'metadata_and_follow_up_auc': _interval(overall.figure('metadata_follow_up_auc')),
        'auc_over_metadata': _interval(overall.figure('auc_over_metadata')),
        'within_views': views
        or 'not measured: evaluation.slices of this run did not ask for view_position',
        'image_statistics': (lines or ['Too few films of a class to tell.']) if audit else None,
    }


def _decisions(run: Run, evaluation: Evaluation) -> dict:
    gate = data_page.gate(run)
    served = run.json('ServingCheck', 'blessing', REPORT)
    lines = [
        f'{row.metric} of {row.slice}: {row.value}, asked {row.asked}: '
        f'{"pass" if row.passed else "FAIL"}'
        + (f' ({row.margin or row.note})' if row.margin or row.note else '')
        for row in evaluation_page.conditions(evaluation)
    ]
    check = counts = None
    if served:
        check = (
            "blessed: its answers equal the trainer's"
            if served['blessed']
            else 'not blessed: ' + '; '.join(served['reasons'])
        )
    if gate:
        counts = '{failed} rules failed, {warning} warnings, {passed} passed'.format(
            **gate['counts']
        )
    return {
        'data_gate': counts,
        'evaluator': lines,
        'serving_check': check,
        'pushed': run.state + (f': {"; ".join(run.reasons)}' if run.reasons else ''),
    }


def _licences(data: card_text.DataText | None, facts: dict) -> list[str] | None:
    if data is None:
        return None
    weights = card_text.NO_WEIGHTS
    if facts.get('backbone') in PRETRAINED:
        path = facts.get('parameters', {}).get('model', {}).get('weights')
        weights = card_text.LICENCE_WEIGHTS.format(
            file=f' ({os.path.basename(path)})' if path else ''
        )
    return [card_text.LICENCE_CODE, data.licence, weights]
