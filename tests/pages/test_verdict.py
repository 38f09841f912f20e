"""The verdict and the answers at the top of the overview page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.evaluator.figure import Figure
from components.evaluator.groups import Group, Groups
from components.evaluator.results import BASELINE, CANDIDATE, Confusion, Slice
from pages import evaluation_page, runs, verdict
from pages import store as store_lib
from pages.measured import Evaluation
from pages.runs import Run
from pipeline.evaluation_parameters import Threshold
from pipeline.run_record import NOT_BLESSED
from pipeline.run_root import RunRoot
from tests.support.synthetic_root import STATES, RootBuilder

FIRST, SECOND, THIRD = (f'2026-11-2{day}T08:00:00.000001' for day in (1, 2, 3))
VALUES = {(CANDIDATE, 'auc'): 0.8, (CANDIDATE, 'sensitivity'): 0.9, (CANDIDATE, 'specificity'): 0.5}


def _evaluation(*thresholds: Threshold, **content) -> Evaluation:
    return Evaluation('', (Slice((), dict(VALUES), **content),), thresholds, 0.95)


def _run(builder: RootBuilder, blessed: int, reasons: tuple[str, ...] = ()) -> Run:
    builder.step(FIRST, 'Evaluator', outputs={'blessing': {'blessed': blessed}, 'evaluation': {}})
    builder.record(FIRST, state=NOT_BLESSED if reasons else 'pushed', reasons=list(reasons))
    (run,) = _runs(builder.root)
    return run


def _runs(root: Path) -> list[Run]:
    return runs.all_runs(store_lib.read(root))


def _lines(run: Run, evaluation: Evaluation | None, question: str) -> tuple[str, ...]:
    answers = verdict.context(run, evaluation, None)['answers']
    return next(answer.lines for answer in answers if question in answer.question)


def test_a_blessed_model_has_its_tightest_margin_first(builder: RootBuilder) -> None:
    evaluation = _evaluation(
        Threshold(metric='sensitivity', min=0.7),
        Threshold(metric='auc', min=0.75, max_worse=0.05),
    )
    content = verdict.context(_run(builder, 1), evaluation, None)
    assert content['passed'] is True
    assert content['headline'] == (
        'Blessed: 2 of 3 conditions met, the tightest by 0.0500; 1 not applicable.'
    )
    assert [mark for mark, _ in content['conditions']] == ['✓', '✓', '–']
    assert content['conditions'][0][1] == (
        'AUC (all test images) is 0.8000, required >= 0.75: met by 0.0500'
    )


def test_every_failed_condition_has_one_line(builder: RootBuilder) -> None:
    evaluation = _evaluation(
        Threshold(metric='sensitivity', min=0.7),
        Threshold(metric='specificity', min=0.6),
        Threshold(metric='auc', min=0.95),
    )
    recorded = 'specificity on all is 0.5000, required >= 0.6 (-0.1000)'
    run = _run(builder, 0, (recorded, 'serving check: too slow'))
    content = verdict.context(run, evaluation, None)
    assert content['passed'] is False
    assert content['headline'] == 'Not blessed: 2 of 3 conditions failed.'
    assert content['conditions'] == [
        ('✗', 'AUC (all test images) is 0.8000, required >= 0.95: missed by 0.1500'),
        ('✗', 'Specificity (all test images) is 0.5000, required >= 0.6: missed by 0.1000'),
    ]
    # The recorded reason says the same as a condition; the other one does not.
    assert content['reasons'] == ['serving check: too slow']


def test_a_blessed_model_that_was_not_pushed_did_not_pass(builder: RootBuilder) -> None:
    run = _run(builder, 1, ('serving check: too slow',))
    content = verdict.context(run, _evaluation(Threshold(metric='auc', min=0.75)), None)
    assert content['passed'] is False
    assert content['headline'] == (
        'Blessed, but not pushed: 1 of 1 condition met, the tightest by 0.0500.'
    )
    assert content['reasons'] == ['serving check: too slow']


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (Figure(0.02, 0.01, 0.03), '+0.020 (+0.010 to +0.030, paired by patient): better'),
        (Figure(-0.02, -0.03, -0.01), ': worse'),
        (Figure(0.02, -0.01, 0.05), ': no clear change'),
        (Figure(0.0, 0.0, 0.0), ': the same'),
        (Figure(None), 'AUC: not defined for one of the models'),
        (Figure(0.02), 'no interval: too few patients of a class'),
    ],
)
def test_the_change_against_the_served_model_in_words(
    builder: RootBuilder, change: Figure, words: str
) -> None:
    evaluation = _evaluation(changes={'auc': change})
    evaluation.overall.values[BASELINE, 'auc'] = 0.78
    line, _ = _lines(_run(builder, 1), evaluation, 'better than the served')
    assert words in line


def test_the_worst_group_is_one_that_is_large_enough(builder: RootBuilder) -> None:
    def group(name: str, positives: int, missed: int) -> Group:
        return Group(
            name=name,
            positives=positives,
            patients=positives,
            missed=missed,
            lower=0.1,
            upper=0.9,
            compared=positives >= 20,
        )

    groups = Groups(min_positives=20, groups=(group('F', 40, 4), group('M', 50, 10)))
    ages = Groups(min_positives=20, groups=(group('00-17', 2, 2), group('40-59', 88, 12)))
    evaluation = _evaluation(groups={(CANDIDATE, 'sex'): groups, (CANDIDATE, 'age_band'): ages})
    evaluation.overall.values[CANDIDATE, 'sensitivity_gap_sex'] = 0.1
    run = _run(builder, 1)
    answers = verdict.context(run, evaluation, None)['answers']
    address, _ = next(answer.images for answer in answers if 'worst' in answer.question)
    assert address == 'gallery.html?sex=M#missed'
    assert _lines(run, evaluation, 'worst') == (
        'The group with the lowest sensitivity is sex male, 0.800 (0.100 – 0.900): 10 of 50 '
        'positive images missed, against 0.900 on all test images.',
        'Largest gap in sensitivity by sex: 0.100, between male (0.800) and female '
        '(0.900); compared, with 20 positives or more: F (40), M (50); none left out.',
        'Not compared, by age: fewer than 20 positives: 00-17 (2).',
    )


def test_data_problems_are_listed_with_errors_first(builder: RootBuilder) -> None:
    number = builder.step(FIRST, 'DataAudit', outputs={'audit': {}})['audit']
    issues = [
        {'severity': severity, 'title': title, 'count': count, 'total': 600, 'unit': 'images'}
        for severity, title, count in (
            ('warning', 'Near copies', 6),
            ('error', 'Damaged', 1200),
            ('error', 'Blank', 0),
        )
    ]
    path = builder.folder('DataAudit', 'audit', number) / 'audit.json'
    path.write_text(json.dumps({'issues': issues}), encoding='utf-8')
    lines = _lines(_run(builder, 1), None, 'wrong with the data')
    assert lines == (
        'The run did not finish its data gate.',
        'Error: Damaged (1,200 of 600 images).',
        'Warning: Near copies (6 of 600 images).',
    )


def test_changes_are_against_the_last_run_that_reached_its_last_step(builder: RootBuilder) -> None:
    # The later release has a key more, which is not set.
    for name, seed, more in ((FIRST, 0, {}), (THIRD, 1, {'card': {'owner': None}})):
        push = json.dumps({'config': {'train': {'seed': seed}, 'root': name, **more}})
        builder.step(name, 'Trainer', parameters={'custom_config': '{"code_digest": "aa"}'})
        builder.step(name, 'Pusher', parameters={'push': push})
    # A run without a record, which failed before its last step.
    builder.step(SECOND, 'Trainer', parameters={'custom_config': '{"code_digest": "bb"}'})
    last, failed, first = _runs(builder.root)
    before = verdict.previous(last, [failed, first])
    assert before is not None and before.name == FIRST
    answer = verdict.context(last, None, before)['answers'][-1]
    assert answer.lines == (f'Compared with the run of {first.title}:', 'train.seed: 0 → 1')
    unknown = verdict.context(failed, None, verdict.previous(failed, [first]))['answers'][-1]
    assert unknown.lines == ('This run has not recorded its settings: an earlier version made it.',)


def test_a_run_without_an_evaluation_has_no_verdict(builder: RootBuilder) -> None:
    builder.step(FIRST, 'Trainer')
    builder.record(FIRST, state='killed', reasons=['memory ran out'])
    (run,) = _runs(builder.root)
    content = verdict.context(run, None, None)
    assert content['passed'] is None and 'ended as "killed"' in content['headline']
    assert content['reasons'] == ['memory ran out']


def test_thresholds_that_changed_are_conditions_in_words() -> None:
    old = json.dumps([{'metric': 'auc', 'min': 0.8, 'max_worse': 0.02}])
    new = json.dumps([{'metric': 'auc', 'min': 0.7, 'slice': {'sex': 'F'}}])
    assert list(verdict.change_texts([('config.evaluation.thresholds', old, new)])) == [
        'evaluation.thresholds: auc >= 0.8; auc at most 0.02 worse than served → '
        'auc on sex=F >= 0.7'
    ]
    unknown = '[{"of": "another version"}]'
    (text,) = verdict.change_texts([('config.evaluation.thresholds', unknown, '')])
    assert text == f'evaluation.thresholds: {unknown} → not set'


def test_a_run_that_the_data_gate_stopped_lists_each_broken_limit(builder: RootBuilder) -> None:
    builder.step(FIRST, 'DataGate', STATES.FAILED)
    folder = RunRoot(builder.root).artifacts / 'DataGate/.system/stateful_working_dir/abc-1'
    folder.mkdir(parents=True)
    rules = [
        {
            'source': 'audit',
            'name': name,
            'where': '',
            'verdict': state,
            'text': f'{count} of 600 images, allowed 0 % (gate.max_share.{name}); e.g. a.png',
            'action': '',
        }
        for name, state, count in (('blank', 'failed', 3), ('truncated', 'passed', 0))
    ]
    counts = {'failed': 1, 'warning': 0, 'passed': 1, 'unlimited': 0}
    gate = {'blessed': False, 'counts': counts, 'rules': rules}
    (folder / 'gate.json').write_text(json.dumps(gate), encoding='utf-8')
    reason = 'DataGate failed: All rules: artifacts/DataGate/.system/stateful_working_dir/abc-1'
    builder.record(FIRST, state='failed', reasons=[f'{reason}/gate.json'])
    (run,) = _runs(builder.root)
    content = verdict.context(run, None, None)
    assert content['passed'] is False
    assert content['headline'].startswith('Stopped by the data gate: the data break 1 limit,')
    assert content['conditions'] == [
        ('✗', 'The image shows nothing: 3 of 600 images, allowed 0 % (gate.max_share.blank)')
    ]
    assert content['reasons'] == []


def test_the_first_answer_counts_what_the_model_flags(builder: RootBuilder) -> None:
    confusion = {CANDIDATE: Confusion(40, 6, 4, 34)}
    lines = _lines(_run(builder, 1), _evaluation(confusion=confusion), 'good')
    assert lines[0] == 'It flags 40 of 44 positive images and 6 of 40 negative ones.'


def test_outputs_that_are_no_numbers_give_no_counts(builder: RootBuilder) -> None:
    values = dict.fromkeys([*VALUES, (CANDIDATE, 'brier_score')])
    zeroed = Slice((), values, {CANDIDATE: Confusion(0, 0, 44, 40)})
    run, evaluation = _run(builder, 0), Evaluation('', (zeroed,), (), 0.95)
    reason = 'the model gives values that are not numbers'
    assert not any('flags' in line for line in _lines(run, evaluation, 'good'))
    assert _lines(run, evaluation, 'worst') == (f'Not known: {reason}.',)
    content = evaluation_page.context(run, evaluation)
    assert content['confusion'] is None
    assert content['no_figures'] == f'No figures: {reason}.'
