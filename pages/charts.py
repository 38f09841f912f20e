"""Draws plots as inline SVG, without scripts.

Colours come from the style sheet of the page. Each series also has its own dash or shape.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 400, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 44
Range = tuple[float, float]
UNIT: Range = (0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Line:
    """A line through points (x, y); `number` selects colour and dash."""

    name: str
    points: Sequence[tuple[float, float]]
    number: int = 0


@dataclasses.dataclass(frozen=True)
class Dots:
    """Dots (x, y, lower, upper, text) with a bar from lower to upper and a tooltip."""

    name: str
    points: Sequence[tuple[float, float, float, float, str]]
    number: int = 0


@dataclasses.dataclass(frozen=True)
class Mark:
    """One highlighted point."""

    name: str
    x: float
    y: float


def plot(
    title: str,
    axes: tuple[str, str],
    series: Sequence[Line | Dots | Mark],
    x_range: Range = UNIT,
    y_range: Range = UNIT,
    diagonal: bool = False,
    whole: bool = False,
) -> Markup:
    """A plot with grid, axes and legend.

    Args:
      title: what the plot shows, also for screen readers.
      axes: names of the x axis and the y axis.
      series: the series, in the order of drawing.
      x_range: range of the x axis.
      y_range: range of the y axis.
      diagonal: whether to draw the line y = x.
      whole: whether the x axis has ticks at whole numbers only.
    """
    frame = _Frame(x_range, y_range)
    parts = [_grid(frame, axes, whole)]
    if diagonal:
        parts.append(_diagonal(frame))
    parts += [_draw(frame, item) for item in series]
    parts.append(_legend(series))
    return _svg(title, _HEIGHT + 18 * math.ceil(len(series) / 2), parts)


def canvas(
    title: str, axes: tuple[str, str], diagonal: bool = False, y_ticks: bool = True
) -> Markup:
    """A plot without series, 0..1 on both axes, into which a script draws.

    The script draws into the group of class `canvas`; its `data-box` has the left, top, width and
    height of the area between the axes.

    Args:
      title, axes, diagonal: as of `plot`.
      y_ticks: whether the y axis has ticks; without them, the script says what its height means.
    """
    frame = _Frame(UNIT, UNIT)
    parts = [_grid(frame, axes, y_ticks=y_ticks), _diagonal(frame) if diagonal else Markup('')]
    (left, bottom), (right, top) = frame.at(0, 0), frame.at(1, 1)
    parts.append(
        Markup('<g class="canvas" data-box="{} {} {} {}"></g>').format(
            left, top, right - left, bottom - top
        )
    )
    return _svg(title, _HEIGHT, parts)


def _svg(title: str, height: float, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="plot" role="img" viewBox="0 0 {} {}" aria-label="{}"><title>{}</title>{}</svg>'
    ).format(_WIDTH, height, title, title, Markup('').join(parts))


def nice_range(values: Sequence[float], at_zero: bool = False) -> Range:
    """A range for an axis that includes all finite values, and 0 if `at_zero`."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return UNIT
    low, high = min(finite), max(finite)
    if at_zero:
        low = min(low, 0.0)
    margin = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
    return (low if at_zero and low == 0 else low - margin), high + margin


@dataclasses.dataclass(frozen=True)
class _Frame:
    x_range: Range
    y_range: Range

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The position of a point in the SVG; points outside the range move to the edge."""
        shares = []
        for value, (low, high) in ((x, self.x_range), (y, self.y_range)):
            shares.append(min(max((value - low) / (high - low or 1), 0), 1))
        return (
            round(_LEFT + shares[0] * (_WIDTH - _LEFT - _RIGHT), 1),
            round(_HEIGHT - _BOTTOM - shares[1] * (_HEIGHT - _TOP - _BOTTOM), 1),
        )


def _diagonal(frame: _Frame) -> Markup:
    return Markup('<line class="diagonal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        *frame.at(0, 0), *frame.at(1, 1)
    )


def _grid(
    frame: _Frame, axes: tuple[str, str], whole: bool = False, y_ticks: bool = True
) -> Markup:
    parts = []
    right, top = frame.at(frame.x_range[1], frame.y_range[1])
    for value in _ticks(frame.x_range):
        if whole and not float(value).is_integer():
            continue
        x, bottom = frame.at(value, frame.y_range[0])
        parts.append(
            Markup('<line class="grid" x1="{0}" y1="{1}" x2="{0}" y2="{2}"/>').format(
                x, bottom, top
            )
        )
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
                x, bottom + 15, f'{value:g}'
            )
        )
    for value in _ticks(frame.y_range) if y_ticks else ():
        x, y = frame.at(frame.x_range[0], value)
        parts.append(
            Markup('<line class="grid" x1="{1}" y1="{0}" x2="{2}" y2="{0}"/>').format(y, x, right)
        )
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
                x - 6, y + 4, f'{value:g}'
            )
        )
    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            middle_x, _HEIGHT - 10, axes[0]
        )
    )
    parts.append(
        Markup(
            '<text class="axis" transform="rotate(-90)" x="{}" y="{}" '
            'text-anchor="middle">{}</text>'
        ).format(-middle_y, 13, axes[1])
    )
    return Markup('').join(parts)


def _ticks(span: Range) -> list[float]:
    low, high = span
    step = 10 ** math.floor(math.log10((high - low) or 1))
    for factor in (0.1, 0.2, 0.5, 1, 2):
        if (high - low) / (step * factor) <= 6:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _draw(frame: _Frame, item: Line | Dots | Mark) -> Markup:
    if isinstance(item, Mark):
        x, y = frame.at(item.x, item.y)
        return Markup(
            '<path class="mark" d="M{} {}l8 8l-8 8l-8 -8z"><title>{}</title></path>'
        ).format(x, y - 8, item.name)
    if isinstance(item, Line):
        if len(item.points) == 1:
            # A polyline with one point is invisible.
            x, y = frame.at(*item.points[0])
            return Markup(
                '<g class="dot s{}"><circle cx="{}" cy="{}" r="4.5"/><title>{}</title></g>'
            ).format(item.number, x, y, item.name)
        points = ' '.join('{},{}'.format(*frame.at(x, y)) for x, y in item.points)
        return Markup('<polyline class="line s{}" points="{}"><title>{}</title></polyline>').format(
            item.number, points, item.name
        )
    parts = []
    for x, y, lower, upper, text in item.points:
        center_x, center_y = frame.at(x, y)
        (_, low), (_, high) = frame.at(x, lower), frame.at(x, upper)
        parts.append(
            Markup(
                '<g class="dot s{0}"><line x1="{1}" x2="{1}" y1="{2}" y2="{3}"/><circle cx="{1}" '
                'cy="{4}" r="4.5"/><title>{5}</title></g>'
            ).format(item.number, center_x, low, high, center_y, text)
        )
    return Markup('').join(parts)


def _legend(series: Sequence[Line | Dots | Mark]) -> Markup:
    parts = []
    for index, item in enumerate(series):
        x, y = _LEFT + (index % 2) * 170, _HEIGHT + 18 * (index // 2) + 6
        if isinstance(item, Mark):
            sign = Markup('<path class="mark" d="M{} {}l5 5l-5 5l-5 -5z"/>').format(x + 10, y - 9)
        elif isinstance(item, Dots):
            sign = Markup('<g class="dot s{}"><circle cx="{}" cy="{}" r="4"/></g>').format(
                item.number, x + 10, y - 4
            )
        else:
            sign = Markup('<polyline class="line s{}" points="{},{} {},{}"/>').format(
                item.number, x, y - 4, x + 20, y - 4
            )
        parts.append(
            sign + Markup('<text x="{}" y="{}">{}</text>').format(x + 26, y, escape(item.name))
        )
    return Markup('').join(parts)
