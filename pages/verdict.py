"""The top of the overview page: the verdict on a run, and answers to what a reader asks, in words.

Each answer has at most a few lines and links to the page with the figures behind it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from tfx.components.evaluator import constants as evaluator_constants

from components.data_audit.artifact import AUDIT_JSON
from components.data_gate.artifact import counts_text
from components.evaluator import registry, results
from components.evaluator.figure import Figure
from components.evaluator.results import CANDIDATE, Slice
from pages import data_page, evaluation_page, lineage, names, worst_group
from pages.measured import Evaluation
from pages.runs import Run
from pages.setting_text import in_words
from pipeline import metrics as gate_metrics
from pipeline.metrics import Verdict
from pipeline.steps import AUDIT, EVALUATOR, PUSHER

# Lines of an answer; the linked page has the rest.
_LINES = 5
# Facts that differ between any two runs, or that another line already says.
_NOT_SETTINGS = ('served_version', 'baseline_version', 'model', 'config.root', 'config.artifacts')
_FACT_TITLES = {
    'data.fingerprint': 'the data',
    'packages': 'versions of packages',
    'schema': 'the schema',
    'started_from': 'the version that training started from',
    'weights': 'the pretrained weights',
}
_CODE = 'code.'


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer to one question.

    Attributes:
      question: as a reader would ask it.
      lines: the answer, one line for each fact.
      page: the page with the figures behind it, relative to the overview.
      link: the text of the link to that page.
      images: address and text of a link to the images in the gallery; None without one.
    """

    question: str
    lines: tuple[str, ...]
    page: str
    link: str
    images: tuple[str, str] | None = None


def context(run: Run, evaluation: Evaluation | None, previous: Run | None) -> dict[str, Any]:
    """The values of the template verdict.html.

    Args:
      run: the run.
      evaluation: None if the run did not finish its Evaluator.
      previous: the run to compare settings with, see `previous`.
    """
    answers = [_good(run, evaluation), _better(run, evaluation), _worst_group(evaluation)]
    answers += [_data(run), _changed(run, evaluation, previous)]
    # A run that was not blessed records its failed conditions as reasons; they are listed once.
    # An earlier version recorded them without the groups of a gap, at their end.
    recorded = [verdict.sentence() for verdict in _verdicts(evaluation)] if evaluation else []
    is_blessed = blessed(run)
    if broken := data_page.broken_limits(run):
        return {
            'headline': f'Stopped by the data gate: the data break {_counted(len(broken), "limit")}'
            ', and no model was trained.',
            'passed': False,
            'conditions': [('✗', text) for text in broken],
            'reasons': [],
            'answers': answers,
        }
    return {
        'headline': _headline(run, evaluation),
        'passed': None if is_blessed is None else is_blessed and not run.reasons,
        'conditions': list(_conditions(evaluation)),
        'reasons': [
            reason
            for reason in run.reasons
            if not any(sentence.startswith(reason) for sentence in recorded)
        ],
        'answers': answers,
    }


def previous(run: Run, older: list[Run]) -> Run | None:
    """The last earlier run of the same pipeline that reached its last step; None without one.

    Metrics can be compared only with those of such a run.
    """
    return next(
        (
            other
            for other in older
            if other.pipeline == run.pipeline and other.config and PUSHER.name in other.executions
        ),
        None,
    )


def blessed(run: Run) -> bool | None:
    """Whether the Evaluator blessed the model; None if the run did not finish it."""
    blessing = run.artifact(EVALUATOR.name, 'blessing')
    if blessing is None:
        return None
    return bool(blessing.properties.get(evaluator_constants.ARTIFACT_PROPERTY_BLESSED_KEY))


def _headline(run: Run, evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return f'No model was evaluated: the run ended as "{run.state}".'
    verdicts = _verdicts(evaluation)
    failed = sum(not verdict.passed for verdict in verdicts)
    if not verdicts:
        return 'Not blessed: this run had no conditions, and without any, no model is blessed.'
    if failed:
        return f'Not blessed: {failed} of {_counted(len(verdicts), "condition")} failed.'
    if not blessed(run):
        return 'Not blessed, although every condition that this page knows is met.'
    margins = [verdict for verdict in verdicts if verdict.margin is not None]
    met = f'{len(margins)} of {_counted(len(verdicts), "condition")} met'
    if margins:
        met += f', the tightest by {margins[0].margin:.4f}'
    if without := len(verdicts) - len(margins):
        met += f'; {without} not applicable'
    return f'Blessed{", but not pushed" if run.reasons else ""}: {met}.'


def _counted(number: int, noun: str) -> str:
    return f'{number:,} {noun}{"" if number == 1 else "s"}'


def _verdicts(evaluation: Evaluation) -> list[Verdict]:
    """The conditions of the gate: failed ones first, then the tightest first."""

    def order(verdict: Verdict) -> tuple[bool, float]:
        missing = math.inf if verdict.passed else -math.inf
        return verdict.passed, missing if verdict.margin is None else verdict.margin

    return sorted(gate_metrics.verdicts(evaluation.thresholds, evaluation), key=order)


def _conditions(evaluation: Evaluation | None) -> Iterator[tuple[str, str]]:
    """(mark, sentence) of every failed condition, or else of the tightest ones."""
    verdicts = _verdicts(evaluation) if evaluation else []
    failed = [verdict for verdict in verdicts if not verdict.passed]
    for verdict in failed or verdicts[:_LINES]:
        yield _mark(verdict), _sentence(verdict)
    if not failed and len(verdicts) > _LINES:
        yield '', f'and {len(verdicts) - _LINES} more, with wider margins'


def _mark(verdict: Verdict) -> str:
    """– for a condition that passes because there is nothing to compare with."""
    return '✗' if not verdict.passed else '–' if verdict.margin is None else '✓'


def _sentence(verdict: Verdict) -> str:
    """One condition in words.

    For example, `AUC (all test images) is 0.8125, required >= 0.75: met by 0.0625`.
    """
    threshold = verdict.threshold
    images = names.slice_in_sentence(tuple(sorted(threshold.slice.items())))
    subject = f'{registry.title(threshold.metric)} ({images})'
    value = 'has no value' if verdict.value is None else f'is {verdict.value:.4f}'
    text = f'{subject} {value}, required {verdict.bound}'
    groups = f'; {verdict.covers}' if verdict.covers else ''
    if verdict.margin is None:
        return f'{text} ({verdict.note}){groups}'
    return f'{text}: {"met" if verdict.passed else "missed"} by {abs(verdict.margin):.4f}{groups}'


def _good(run: Run, evaluation: Evaluation | None) -> Answer:
    lines: list[str] = []
    if evaluation:
        overall = evaluation.overall
        lines = [
            *_flagged(run, overall),
            *[
                f'{registry.title(name)}: {overall.figure(name).text()}'
                for name in (*registry.OVERVIEW, 'metadata_auc')
                if overall.is_measured(name)
            ],
        ]
        images = evaluation_page.count(overall, registry.IMAGES)
        if images is not None:
            level = f'{100 * evaluation.level:.4g} %'
            lines.append(f'On {_counted(images, "test image")}, with {level} intervals by patient.')
    return Answer(
        'Is the model good?',
        tuple(lines or [_NOT_EVALUATED]),
        'evaluation.html',
        'evaluation',
        ('gallery.html', 'images that it got wrong') if evaluation else None,
    )


def _flagged(run: Run, overall: Slice) -> Iterator[str]:
    """How many images of each class the model flags; nothing if that is not known."""
    counts = overall.confusion.get(CANDIDATE)
    if counts is None or not overall.gives_numbers():
        return
    words = run.class_names
    yield (
        f'It flags {counts.true_positives:,} of {counts.positives:,} {words["positive"]} images '
        f'and {counts.false_positives:,} of {counts.negatives:,} {words["negative"]} ones.'
    )


_NOT_EVALUATED = 'The run did not finish its Evaluator.'


def _better(run: Run, evaluation: Evaluation | None) -> Answer:
    lines: list[str] = []
    if evaluation is None:
        lines = [_NOT_EVALUATED]
    elif not evaluation.has_baseline:
        lines = [evaluation_page.baseline_text(run)]
    else:
        lines = [_change(name, change) for name, change in evaluation.overall.changes.items()] or [
            'An earlier version made this evaluation, without paired intervals.'
        ]
        lines.append(evaluation_page.baseline_text(run))
    return Answer(
        'Is it better than the served model?',
        tuple(lines),
        'evaluation.html#metrics',
        'both models, metric by metric',
        ('gallery.html#changed', 'images whose flag changed')
        if evaluation and evaluation.has_baseline
        else None,
    )


def _change(name: str, change: Figure) -> str:
    """The change of a metric of which more is better, in words."""
    if change.value is None:
        return f'{registry.title(name)}: not defined for one of the models'
    text = f'{registry.title(name)}: {change.value:+.3f}'
    if change.lower is None or change.upper is None:
        return f'{text} (no interval: too few patients of a class)'
    word = (
        'better'
        if change.lower > 0
        else 'worse'
        if change.upper < 0
        else 'the same'
        if change.value == change.lower == change.upper == 0
        else 'no clear change'
    )
    return f'{text} ({change.lower:+.3f} to {change.upper:+.3f}, paired by patient): {word}'


def _worst_group(evaluation: Evaluation | None) -> Answer:
    address = worst_group.missed_images(evaluation.overall) if evaluation else ''
    return Answer(
        'Which group is worst?',
        tuple(worst_group.lines(evaluation.overall) if evaluation else [_NOT_EVALUATED]),
        'evaluation.html#groups',
        'all groups',
        (address, 'images that it missed there') if address else None,
    )


def _lines(lines: Iterator[str]) -> tuple[str, ...]:
    """The lines; a damaged artifact behind one answer must not hide the others."""
    try:
        return tuple(lines)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return (f'The artifact behind this answer is damaged: {type(error).__name__}: {error}.',)


def _data(run: Run) -> Answer:
    return Answer(
        'What is wrong with the data?', _lines(_data_lines(run)), 'data.html', 'data and images'
    )


def _data_lines(run: Run) -> Iterator[str]:
    verdict, audit = data_page.gate(run), run.json(AUDIT.name, 'audit', AUDIT_JSON)
    if verdict is None:
        yield 'The run did not finish its data gate.'
    elif not verdict['blessed']:
        yield f'The data gate stopped the run: {counts_text(verdict["counts"])}.'
    if audit is None:
        yield 'The run did not finish the audit of the images.'
        return
    found = [issue for issue in audit['issues'] if issue['count']]
    if not found:
        yield f'Nothing: the audit looked for {len(audit["issues"])} kinds of problems.'
    found.sort(key=lambda issue: issue['severity'] != 'error')
    for issue in found[:_LINES]:
        yield (
            f'{issue["severity"].capitalize()}: {issue["title"]} ({issue["count"]:,} of '
            f'{issue["total"]:,} {issue["unit"]}).'
        )
    if len(found) > _LINES:
        yield f'And {len(found) - _LINES} more.'


def _changed(run: Run, evaluation: Evaluation | None, before: Run | None) -> Answer:
    return Answer(
        'What changed since the last run?',
        _lines(_changed_lines(run, evaluation, before)),
        '../../comparison.html',
        'any two runs side by side',
    )


def _changed_lines(run: Run, evaluation: Evaluation | None, before: Run | None) -> Iterator[str]:
    if not run.config:
        yield 'This run has not recorded its settings: an earlier version made it.'
        return
    if before is None:
        yield 'No earlier run of this pipeline in this root reached its last step.'
        return
    yield f'Compared with the run of {before.label}:'
    changes = lineage.difference(lineage.facts(before), lineage.facts(run))
    texts = list(change_texts(changes))
    yield from texts[:_LINES]
    if len(texts) > _LINES:
        yield f'and {len(texts) - _LINES} more'
    if not texts:
        yield 'nothing that the runs recorded'
    if evaluation and (moved := _moved(before, evaluation.overall)):
        yield moved


def change_texts(changes: list[tuple[str, str, str]]) -> Iterator[str]:
    """Facts that differ, in words: settings first, with their values."""
    # A key that only one of two releases knows, and that is not set, makes no difference.
    changes = [
        (key, old, new)
        for key, old, new in changes
        if key not in _NOT_SETTINGS and {old, new} != {'', 'null'}
    ]
    for key, old, new in changes:
        if key.startswith('config.'):
            words = f'{in_words(key, old)} → {in_words(key, new)}'
            yield f'{key.removeprefix("config.")}: {words}'
    for key, title in _FACT_TITLES.items():
        if any(name == key for name, _, _ in changes):
            yield title
    if code := [key.removeprefix(_CODE) for key, _, _ in changes if key.startswith(_CODE)]:
        yield f'the code of {", ".join(code)}'


def _moved(before: Run, overall: Slice) -> str:
    """How the headline metrics moved since an earlier run, which may have had other images."""
    artifact = before.artifact(EVALUATOR.name, 'evaluation')
    if artifact is None:
        return ''
    try:
        earlier = results.read(artifact.path, plots=False, overall_only=True).overall
    except (OSError, ValueError):
        return ''
    moves = [
        f'{registry.title(name)} {old:.3f} → {new:.3f}'
        for name in registry.HEADLINE
        if (old := earlier.value(name)) is not None and (new := overall.value(name)) is not None
    ]
    return ', '.join(moves)
