"""Draws forest plots as inline SVG: one row for each group, a value with its interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from markupsafe import Markup

from components.evaluator.figure import Figure

_WIDTH, _ROW, _TOP, _BOTTOM = 420, 22, 8, 40
# The plot is between the names of the groups and the values.
_LEFT, _RIGHT = 100, 272


@dataclasses.dataclass(frozen=True)
class Row:
    """A group.

    Attributes:
      name: of the group.
      figure: the value with its interval.
      small: whether the group is too small to compare: its mark is hollow.
      detail: a tooltip, such as the counts behind the value.
    """

    name: str
    figure: Figure
    small: bool
    detail: str


def plot(
    title: str, sections: Sequence[tuple[str, Sequence[Row]]], overall: float | None
) -> Markup:
    """A forest plot; in each section the lowest value comes first.

    Args:
      title: what the plot shows, also for screen readers.
      sections: (heading, groups) of each feature.
      overall: the value of all images, drawn as a line; None if it is not defined.
    """
    low = _low([row.figure for _, rows in sections for row in rows])
    parts, y = [], float(_TOP)
    bottom = _TOP + _ROW * sum(1 + len(rows) for _, rows in sections)
    parts.append(_axis(low, bottom, title))
    if overall is not None:
        parts.append(
            Markup('<line class="diagonal" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
                _x(overall, low), _TOP, bottom
            )
        )
    for heading, rows in sections:
        y += _ROW
        parts.append(Markup('<text class="heading" x="2" y="{}">{}</text>').format(y - 6, heading))
        for row in sorted(rows, key=_order):
            y += _ROW
            parts.append(_row(row, low, y - 10))
    return Markup(
        '<svg class="plot forest" role="img" viewBox="0 0 {} {}" aria-label="{}"><title>{}</title>'
        '{}</svg>'
    ).format(_WIDTH, bottom + _BOTTOM, title, title, Markup('').join(parts))


def _order(row: Row) -> tuple[float, str]:
    return (math.inf if row.figure.value is None else row.figure.value, row.name)


def _low(figures: Sequence[Figure]) -> float:
    """The lower end of the axis, a multiple of 0.1; the upper end is 1."""
    ends = [end for figure in figures for end in (figure.value, figure.lower) if end is not None]
    return min(math.floor(10 * min(ends, default=0.0)) / 10, 0.9)


def _x(value: float, low: float) -> float:
    return round(_LEFT + (value - low) / (1 - low) * (_RIGHT - _LEFT), 1)


def _axis(low: float, bottom: float, title: str) -> Markup:
    parts = []
    tenths = range(round(10 * low), 11)
    for tenth in tenths:
        x = _x(tenth / 10, low)
        parts.append(
            Markup('<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
                x, _TOP, bottom
            )
        )
        if (10 - tenth) % (2 if len(tenths) > 6 else 1) == 0:
            parts.append(
                Markup('<text x="{}" y="{}" text-anchor="middle">{:g}</text>').format(
                    x, bottom + 15, tenth / 10
                )
            )
    parts.append(
        Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (_LEFT + _RIGHT) / 2, bottom + 33, title
        )
    )
    return Markup('').join(parts)


def _row(row: Row, low: float, y: float) -> Markup:
    figure = row.figure
    parts = [Markup('<text x="10" y="{}">{}</text>').format(y + 4, row.name)]
    if figure.value is None:
        text = figure.reason or figure.text()
        parts.append(
            Markup('<text class="note" x="{}" y="{}">{}</text>').format(_LEFT, y + 4, text)
        )
    else:
        parts += [_mark(row, low, y), _value(figure, y)]
    return Markup('<g><title>{}</title>{}</g>').format(
        f'{row.name}: {figure.text()}; {row.detail}', Markup('').join(parts)
    )


def _mark(row: Row, low: float, y: float) -> Markup:
    figure = row.figure
    assert figure.value is not None
    bar = Markup('')
    if figure.lower is not None and figure.upper is not None:
        bar = Markup('<line x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
            _x(figure.lower, low), _x(figure.upper, low), y=y
        )
    return Markup('<g class="dot {}">{}<circle cx="{}" cy="{}" r="4.5"/></g>').format(
        's1' if row.small else 's0', bar, _x(figure.value, low), y
    )


def _value(figure: Figure, y: float) -> Markup:
    interval = f' ({figure.interval(2)})' if figure.interval() else ''
    return Markup('<text x="{}" y="{}">{}{}</text>').format(
        _RIGHT + 12, y + 4, figure.value_text(), interval
    )
