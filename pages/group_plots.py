"""The groups of the test images by sex, age and view: forest plots, and a gap in words."""

from __future__ import annotations

from typing import Any

from components.evaluator import registry
from components.evaluator.figure import Figure
from components.evaluator.groups import Group, Groups
from components.evaluator.results import Slice
from pages import forest, names
from pages.measured import Evaluation


def forests(evaluation: Evaluation) -> list[dict[str, Any]]:
    """A forest plot for each of `registry.HEADLINE`, sensitivity first; empty without groups."""
    overall = evaluation.overall
    by_feature = overall.candidate_groups()
    metrics = sorted(registry.HEADLINE, key=lambda name: name != 'sensitivity')
    return [
        {
            'plot': forest.plot(
                registry.title(name),
                [
                    (
                        names.group(feature).capitalize(),
                        [_row(evaluation, name, feature, group) for group in groups.groups],
                    )
                    for feature, groups in by_feature.items()
                ],
                overall.value(name),
            ),
            'title': registry.title(name),
        }
        for name in (metrics if by_feature else ())
    ]


def gap_text(overall: Slice, name: str) -> str:
    """The groups that a gap is between, compares and leaves out; '' without groups."""
    feature = str(registry.METRICS[name].group)
    groups = overall.candidate_groups().get(feature)
    return f'{between(feature, groups)}{groups.gap_text()}' if groups else ''


def between(feature: str, groups: Groups) -> str:
    """The two groups that a gap is between, with their sensitivities and `; `; '' without two."""
    compared = groups.compared()
    if len(compared) < 2:
        return ''
    ends = (
        f'{names.value(feature, group.name)} ({group.figure.value_text()})'
        for group in (compared[0], compared[-1])
    )
    return f'between {" and ".join(ends)}; '


def min_positives(overall: Slice) -> int | None:
    """Positive images that a gap asks of a group; None without groups."""
    return next((groups.min_positives for groups in overall.candidate_groups().values()), None)


def _row(evaluation: Evaluation, name: str, feature: str, group: Group) -> forest.Row:
    measured = evaluation.slice(((feature, group.name),))
    title = names.value(feature, group.name)
    figure = measured.figure(name) if measured else Figure(None, reason='not a slice of this run')
    if name == 'sensitivity' and (figure.value is None or not figure.interval()):
        # Its interval needs fewer patients than the bootstrap.
        figure = group.figure if group.positives else Figure(None, reason='no positive image')
    detail = (
        f'{group.positives:,} positives of {group.patients:,} patients, {group.missed:,} missed'
    )
    return forest.Row(title, figure, not group.compared, detail)
