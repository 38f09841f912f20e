"""A model card as headings, facts and tables: what its HTML and its Markdown are both made from, so
that neither can leave a part out.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from pages import names
from pages.card import Interval, Measured, ModelCard

_NAMES = {
    'expected_calibration_error': names.METRICS['calibration_error'],
    'metadata_only_auc': names.METRICS['metadata_auc'],
    'metadata_and_follow_up_auc': names.METRICS['metadata_follow_up_auc'],
    'auc_over_metadata': names.METRICS['auc_over_metadata'],
    'out_of_scope': 'Not for',
    'primary': 'For',
    'made': 'Trained',
    'positive': 'Positive class',
    'negative': 'Negative class',
    'statement': 'Status',
    'within_views': 'AUC within view',
    'gaps': 'Gaps between groups',
}
_INTERVAL = 'Interval by patient'
TITLES = {
    'details': 'Model',
    'intended_use': 'Uses and directions',
    'evaluation': 'Validation and performance',
    'calibration': 'Calibration',
    'operating_point': 'Operating point',
    'shortcuts': 'Shortcuts checked',
    'data': 'Data and labels',
    'training': 'Training',
    'decisions': 'Decisions',
    'limits': 'Warnings and limits',
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
    """A part of the card: (name, value) pairs, where a value is a text or a list of them, and
    tables.
    """

    key: str
    title: str
    facts: list[tuple[str, str | list[str]]]
    tables: list[Table]


def sections(card: ModelCard) -> list[Section]:
    """All parts, in the order in which a reader asks."""
    assert set(TITLES) | {'format'} == set(ModelCard.model_fields), (
        'a part of the card has no heading'
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
                    *(f'{"  " if name else ""}- {_plain(each)}' for each in value),
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
    found: list[tuple[str, str | list[str]]] = []
    tables: list[Table] = []
    for name in type(part).model_fields:
        _add(name, getattr(part, name), found, tables)
    return Section(key, title, found, tables)


def _add(
    name: str, value: Any, found: list[tuple[str, str | list[str]]], tables: list[Table]
) -> None:
    title = _title(name)
    if name == 'gaps':
        headings = [
            '',
            'Value',
            _INTERVAL,
            'Group with the lowest sensitivity, Wilson interval',
            'Groups left out',
        ]
        tables.append(
            Table(
                title,
                headings,
                [[key, *_figure(each), each.lowest, each.left_out] for key, each in value.items()],
            )
        )
    elif name in ('overall', 'within_views') and isinstance(value, dict):
        tables.append(
            Table(
                title,
                ['', 'Value', _INTERVAL],
                [[key, *_figure(each)] for key, each in value.items()],
            )
        )
    elif name == 'subgroups':
        for by, groups in value.items():
            _add_groups(by, groups, found, tables)
    elif name == 'splits':
        rows = [
            [
                split,
                f'{each.films:,}',
                f'{each.patients:,}',
                f'{each.positives:,}',
                f'{each.positives / each.films:.1%}',
            ]
            for split, each in value.items()
        ]
        tables.append(
            Table('Splits', ['Split', 'Films', 'Patients', 'Positive', 'Prevalence'], rows)
        )
    elif name == 'groups':
        rows = [
            [names.slice_title(((by, group),)), f'{count:,}']
            for by, groups in value.items()
            for group, count in groups.items()
        ]
        tables.append(Table('Films by view, sex and age', ['Group', 'Films'], rows))
    elif name == 'parameters':
        rows = [[key, each] for key, each in _flat(value)]
        tables.append(Table('Settings', ['Setting', 'Value'], rows))
    elif isinstance(value, Interval | Measured):
        words, interval = _figure(value)
        found.append((title, f'{words} ({interval})' if interval else words))
    elif isinstance(value, dict):
        found.append((title, ', '.join(f'{key} {each}' for key, each in value.items())))
    elif isinstance(value, list):
        found.append((title, value))
    else:
        found.append(
            (
                title,
                f'{value:.4f}'
                if isinstance(value, float)
                else f'{value:,}'
                if isinstance(value, int)
                else str(value),
            )
        )


def _add_groups(
    by: str, groups: dict | str, found: list[tuple[str, str | list[str]]], tables: list[Table]
) -> None:
    title = f'By {by.replace("_", " ")}'
    if isinstance(groups, str):
        found.append((title, groups))
        return
    metrics = list(next(iter(groups.values())))
    rows = [
        [group, *(_text(figures[name]) for name in metrics)] for group, figures in groups.items()
    ]
    tables.append(Table(title, ['Group', *(names.metric(name) for name in metrics)], rows))


def _figure(figure: Interval | Measured) -> tuple[str, str]:
    if figure.value is None:
        return 'not defined on these films', ''
    interval = (
        ''
        if figure.lower is None or figure.upper is None
        else f'{figure.lower:.3f} – {figure.upper:.3f}'
    )
    return f'{figure.value:.3f}', interval


def _text(figure: Interval) -> str:
    words, interval = _figure(figure)
    return f'{words} ({interval})' if interval else words


def _flat(content: dict[str, Any], prefix: str = ''):
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', json.dumps(value)


def _title(name: str) -> str:
    return _NAMES.get(name, name.replace('_', ' ').capitalize())


def _plain(text: str) -> str:
    """Text in which nothing counts as Markdown or HTML."""
    escaped = ''.join(f'\\{letter}' if letter in '\\`*_[]#|' else letter for letter in text)
    return (
        escaped.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;').replace('\n', ' ')
    )


def _row(cells: list[str]) -> str:
    return '| ' + ' | '.join(cell if cell == '---' else _plain(cell) for cell in cells) + ' |'
