"""Turns a model card into sections with facts and tables.

Its HTML and its Markdown are both made from these sections, so that neither can omit a part.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from components.evaluator import registry
from components.evaluator.figure import Figure
from pages import names
from pages.card import (
    Interval,
    ModelCard,
    SourcePair,
    SplitCounts,
    VersionFacts,
    metric_fields,
)

# Field -> its title, unless that is the title of a metric or the name of the field.
_FIELD_TITLES = {
    'out_of_scope': 'Not for',
    'primary': 'For',
    'users': 'Intended users',
    'task': 'Task setting',
    'note': 'Versions',
    'made': 'Trained',
    'network': 'Backbone',
    'started_from': 'Training started from',
    'served_as': 'Served',
    'positive': 'Positive class',
    'negative': 'Negative class',
    'statement': 'Status',
    'images': 'Test images',
    'not_assessed': 'Images not assessed',
    'within_views': 'AUC within each view',
    'gaps': 'Gaps between groups',
    'expert_labels': 'Labels of experts',
    'label_sources': 'Labels from reports and from experts',
}
_INTERVAL = 'Interval by patient'
TITLES = {
    'details': 'Model',
    'intended_use': 'Intended use',
    'evaluation': 'Performance',
    'calibration': 'Calibration',
    'operating_point': 'Operating point',
    'shortcuts': 'Checks for shortcuts',
    'data': 'Data and labels',
    'training': 'Training',
    'decisions': 'Decisions',
    'history': 'Version history',
    'limits': 'Warnings and limitations',
    'licences': 'Licences',
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the card."""

    caption: str
    headings: list[str]
    rows: list[list[str]]


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the card.

    Attributes:
      key: name of the field in `ModelCard`.
      title: title of the section.
      facts: (name, value) pairs; a value is a text or a list of texts.
      tables: the tables below the facts.
    """

    key: str
    title: str
    facts: list[tuple[str, str | list[str]]]
    tables: list[Table]


def sections(card: ModelCard) -> list[Section]:
    """All sections, the most important first."""
    assert set(TITLES) | {'format'} == set(ModelCard.model_fields), (
        'a part of the card has no title'
    )
    return [_section(key, title, getattr(card, key)) for key, title in TITLES.items()]


def markdown(card: ModelCard) -> str:
    """The card as Markdown."""
    lines = [
        f'# Model card: {_plain(card.details.name)}',
        '',
        f'**{_plain(card.intended_use.statement)}**',
    ]
    for section in sections(card):
        lines += ['', f'## {section.title}', '']
        for name, value in section.facts:
            if isinstance(value, list):
                lines += [
                    f'- {_plain(name)}:' if name else '',
                    *(f'{"  " if name else ""}- {_plain(text)}' for text in value),
                ]
            else:
                lines.append(f'- {_plain(name)}: {_plain(value)}')
        for table in section.tables:
            lines += [
                '',
                f'{_plain(table.caption)}',
                '',
                _row(table.headings),
                _row(['---'] * len(table.headings)),
                *map(_row, table.rows),
            ]
    return (
        '\n'.join(
            line for number, line in enumerate(lines) if line or not number or lines[number - 1]
        )
        + '\n'
    )


def _section(key: str, title: str, part: Any) -> Section:
    if isinstance(part, list):
        return Section(key, title, [('', part)], [])
    section = Section(key, title, [], [])
    metrics = metric_fields(type(part))
    for field in type(part).model_fields:
        field_title = registry.title(metrics[field]) if field in metrics else _field_title(field)
        _add(section, field, field_title, getattr(part, field))
    return section


def _add(section: Section, field: str, title: str, value: Any) -> None:
    if field in _TABLES and isinstance(value, dict):
        if value:
            section.tables.append(_TABLES[field](title, value))
    elif field == 'subgroups':
        for feature, groups in value.items():
            _add_groups(section, feature, groups)
    else:
        section.facts.append((title, _fact(field, value)))


def _fact(field: str, value: Any) -> str | list[str]:
    if value is None:
        return 'not recorded: an earlier version made this evaluation'
    if isinstance(value, Interval):
        return _text(value)
    if isinstance(value, dict):
        return ', '.join(f'{key} {content}' for key, content in value.items())
    if isinstance(value, list):
        return value
    if isinstance(value, float):
        return f'{value:.4f}'
    note = '; the model flags them, and they count as flagged' if field == 'not_assessed' else ''
    return f'{value:,}{note if value else ""}' if isinstance(value, int) else str(value)


def _metrics_table(title: str, metrics: dict[str, Interval]) -> Table:
    rows = [[name, *_cells(metric)] for name, metric in metrics.items()]
    return Table(title, ['Metric', 'Value', _INTERVAL], rows)


def _gaps_table(title: str, gaps: dict[str, Any]) -> Table:
    headings = [
        'Gap',
        'Value',
        _INTERVAL,
        'Group with the lowest sensitivity, Wilson interval',
        'Groups compared',
        'Groups left out',
    ]
    rows = [
        [name, *_cells(gap), gap.lowest, gap.compared, gap.left_out] for name, gap in gaps.items()
    ]
    return Table(title, headings, rows)


def _sources_table(title: str, sources: dict[str, SourcePair]) -> Table:
    headings = ['Metric', 'Images', 'By reports', 'By experts', 'Experts − reports']
    rows = [
        [
            name,
            f'{pair.images:,}',
            _text(pair.reports),
            _text(pair.experts),
            figure(pair.difference).signed_text(),
        ]
        for name, pair in sources.items()
    ]
    return Table(title, headings, rows)


def _splits_table(title: str, splits: dict[str, SplitCounts]) -> Table:
    rows = [
        [
            split,
            f'{counts.images:,}',
            f'{counts.patients:,}',
            f'{counts.positives:,}',
            f'{counts.positives / counts.images:.1%}',
        ]
        for split, counts in splits.items()
    ]
    return Table(title, ['Split', 'Images', 'Patients', 'Positive', 'Prevalence'], rows)


def _groups_table(title: str, groups: dict[str, dict[str, int]]) -> Table:
    rows = [
        [names.slice_title(((feature, group),)), f'{count:,}']
        for feature, counts in groups.items()
        for group, count in counts.items()
    ]
    return Table('Images by view, sex and age', ['Group', 'Images'], rows)


def _settings_table(title: str, parameters: dict[str, Any]) -> Table:
    return Table('Settings', ['Setting', 'Value'], [list(row) for row in _flat(parameters)])


def _versions_table(title: str, versions: dict[str, VersionFacts]) -> Table:
    metrics = metric_fields(VersionFacts)
    rows = [
        [
            version,
            facts.pushed,
            facts.run,
            facts.changed,
            *(_text(getattr(facts, field)) for field in metrics),
        ]
        for version, facts in versions.items()
    ]
    titles = (registry.title(name) for name in metrics.values())
    return Table(title, ['Version', 'Pushed', 'Run', 'Changed since the one before', *titles], rows)


# Field -> the function that makes its table.
_TABLES: dict[str, Callable[[str, dict], Table]] = {
    'overall': _metrics_table,
    'within_views': _metrics_table,
    'gaps': _gaps_table,
    'label_sources': _sources_table,
    'splits': _splits_table,
    'groups': _groups_table,
    'parameters': _settings_table,
    'versions': _versions_table,
}


def _add_groups(section: Section, feature: str, groups: dict | str) -> None:
    title = f'By {names.group(feature)}'
    if isinstance(groups, str):
        section.facts.append((title, groups))
        return
    metrics = list(next(iter(groups.values())))
    rows = [[group, *(_text(row[name]) for name in metrics)] for group, row in groups.items()]
    headings = ['Group', *(registry.title(name) for name in metrics)]
    section.tables.append(Table(title, headings, rows))


def figure(metric: Interval) -> Figure:
    """The metric as a value that can be written."""
    return Figure(metric.value, metric.lower, metric.upper, reason=metric.reason or '')


def _cells(metric: Interval) -> tuple[str, str]:
    """(value, interval)."""
    if metric.value is None:
        return figure(metric).text(), ''
    return figure(metric).value_text(), figure(metric).interval()


def _text(metric: Interval) -> str:
    return figure(metric).text()


def _flat(content: dict[str, Any], prefix: str = ''):
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', json.dumps(value)


def _field_title(field: str) -> str:
    return _FIELD_TITLES.get(field, field.replace('_', ' ').capitalize())


def _plain(text: str) -> str:
    """Escapes Markdown and HTML."""
    escaped = ''.join(f'\\{letter}' if letter in '\\`*_[]#|' else letter for letter in text)
    return (
        escaped.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;').replace('\n', ' ')
    )


def _row(cells: list[str]) -> str:
    return '| ' + ' | '.join(cell if cell == '---' else _plain(cell) for cell in cells) + ' |'
