"""The lineage as a graph: boxes for steps with their artifacts, and lines to the steps that read.

The boxes form one column, so that the graph is readable on a narrow screen and on paper. Each
artifact that a later step read has a vertical line beside the boxes; a dot marks where the line of
a reading step joins it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from components.baseline import executor as baseline
from pages.lineage import Link
from pages.runs import Run
from pages.store import CACHED, COMPLETE, FAILED
from pipeline import run_record
from pipeline.steps import (
    AUDIT,
    CURATED_SCHEMA,
    DATA_GATE,
    EVALUATOR,
    INGESTION,
    PUSHER,
    STATISTICS,
    TRAINER,
    TUNER,
    VALIDATION,
)

# In SVG units, which are pixels on a screen of 400 pixels.
_BOX, _HEAD, _ROW, _PAD, _GAP = 250, 26, 20, 7, 14
_FIRST_LANE, _LANE = 18, 13
_COLOURS = 6
# Step -> the page about its result; the other steps link to their row of the table.
_PAGES = {
    INGESTION.name: 'data.html',
    CURATED_SCHEMA.name: 'data.html#schema',
    STATISTICS.name: 'data.html#statistics',
    VALIDATION.name: 'data.html#anomalies',
    AUDIT.name: 'data.html#problems',
    DATA_GATE.name: 'data.html#gate',
    TUNER.name: 'training.html',
    TRAINER.name: 'training.html',
    EVALUATOR.name: 'evaluation.html',
    PUSHER.name: 'model_card.html#history',
}
# (step, key of an output) -> the page that shows it, where the step's own page is another.
_ARTIFACT_PAGES = {
    (TRAINER.name, 'model'): 'model_card.html',
    (EVALUATOR.name, 'blessing'): 'evaluation.html#gate',
}


@dataclasses.dataclass(frozen=True)
class Row:
    """An artifact in a box, with its link and the height of its middle."""

    text: str
    href: str
    y: float


@dataclasses.dataclass(frozen=True)
class Box:
    """A step or a version.

    Attributes:
      title: its name.
      href: its link.
      note: a line below the title, '' for none.
      run: (title, link) of the run that executed the step; None for the run of the page.
      kind: `step`, `failed` or `version`.
      y: its upper edge.
      height: its height.
      rows: its artifacts.
    """

    title: str
    href: str
    note: str
    run: tuple[str, str] | None
    kind: str
    y: float
    height: float
    rows: tuple[Row, ...] = ()

    @property
    def port(self) -> float:
        """The height at which the lines of its inputs arrive."""
        return self.y + _HEAD / 2


@dataclasses.dataclass(frozen=True)
class Lane:
    """The line of an artifact: from its row at `start` to the boxes that read it, at `ends`."""

    text: str
    x: float
    start: float
    ends: tuple[float, ...]
    colour: int


@dataclasses.dataclass(frozen=True)
class Graph:
    """A drawing.

    Attributes:
      width: its width.
      height: its height.
      box: the width of every box.
      boxes: in the order in which the steps run.
      lanes: a line for each artifact that a step read.
      arrows: (height, x where it begins) of the arrow into each box with inputs.
    """

    width: float
    height: float
    box: float
    boxes: tuple[Box, ...]
    lanes: tuple[Lane, ...]
    arrows: tuple[tuple[float, float], ...]


def graph(
    run: Run, links: Sequence[Link], version: str = '', versions: Mapping[str, str] | None = None
) -> Graph | None:
    """The graph of executions; None without any.

    Args:
      run: the run of the page.
      links: the executions, each after those that it depends on.
      version: the version that the run serves; '' without one.
      versions: other version -> link to its page.
    """
    boxes: list[Box] = []
    for link in links:
        boxes.append(_box(run, link, versions or {}, _below(boxes)))
    if not boxes:
        return None
    readings = _readings(links, boxes)
    if version:
        boxes.append(_version(version, _below(boxes)))
        readings += _pushed(links, boxes)
    lanes = _lanes(readings)
    farthest: dict[float, float] = {}
    for lane in lanes:
        for end in lane.ends:
            farthest[end] = max(lane.x, farthest.get(end, 0))
    width = max((lane.x for lane in lanes), default=_BOX) + 8
    return Graph(
        width, _below(boxes) - _GAP + 2, _BOX, tuple(boxes), lanes, tuple(farthest.items())
    )


def _below(boxes: Sequence[Box]) -> float:
    return boxes[-1].y + boxes[-1].height + _GAP if boxes else 2


def _box(run: Run, link: Link, versions: Mapping[str, str], y: float) -> Box:
    execution, note, other = link.execution, '', None
    if execution.run != run.name:
        note = 'ran in'
        other = (
            execution.run.replace('T', ' ').partition('.')[0],
            f'../{run_record.run_id(execution.run)}/index.html',
        )
    elif execution.state not in (COMPLETE, CACHED):
        note = '✗ failed' if execution.state == FAILED else '■ did not finish'
    page = _PAGES.get(execution.step, f'#execution-{execution.id}')
    top = y + _HEAD + (_ROW if note else 0) + _ROW / 2
    rows = []
    for number, (key, artifact) in enumerate(link.outputs):
        text = f'{key} #{artifact.id}'
        href = _ARTIFACT_PAGES.get((execution.step, key), page)
        if served := str(artifact.properties.get(baseline.VERSION, '')):
            text, href = f'{text}: version {served}', versions.get(served, href)
        rows.append(Row(text, href, top + _ROW * number))
    height = top - _ROW / 2 - y + _ROW * len(rows) + (_PAD if rows or note else 0)
    kind = 'failed' if execution.state == FAILED else 'step'
    return Box(execution.step, page, note, other, kind, y, height, tuple(rows))


def _version(version: str, y: float) -> Box:
    return Box(f'Version {version}', 'model_card.html', '', None, 'version', y, _HEAD + _PAD)


@dataclasses.dataclass(frozen=True)
class _Reading:
    """An artifact that boxes read: its text, its height and theirs, in order."""

    text: str
    start: float
    ends: tuple[float, ...]

    def overlaps(self, other: _Reading) -> bool:
        """Whether the lines of both would touch in one lane."""
        return self.start <= other.ends[-1] and other.start <= self.ends[-1]


def _readings(links: Sequence[Link], boxes: Sequence[Box]) -> list[_Reading]:
    starts, texts = {}, {}
    ends: dict[int, list[float]] = {}
    for link, box in zip(links, boxes, strict=True):
        # A step can read an artifact under two keys.
        for number in {artifact.id for _, artifact in link.inputs}:
            ends.setdefault(number, []).append(box.port)
        for (key, artifact), row in zip(link.outputs, box.rows, strict=True):
            starts[artifact.id] = row.y
            texts[artifact.id] = f'{key} #{artifact.id} of {link.execution.step}'
    return [
        _Reading(texts[number], start, tuple(ends[number]))
        for number, start in starts.items()
        if number in ends
    ]


def _pushed(links: Sequence[Link], boxes: Sequence[Box]) -> list[_Reading]:
    """The line from the artifact of the Pusher to the last box, which is the version."""
    return [
        _Reading(f'{row.text} of {PUSHER.name}', row.y, (boxes[-1].port,))
        for link, box in zip(links, boxes, strict=False)
        if link.execution.step == PUSHER.name
        for row in box.rows
    ]


def _lanes(readings: Iterable[_Reading]) -> tuple[Lane, ...]:
    """Gives each artifact a lane; short lines are next to the boxes, to cross few others."""
    taken: list[list[_Reading]] = []
    lanes = []
    for reading in sorted(readings, key=lambda one: one.ends[-1] - one.start):
        free = (
            number
            for number, others in enumerate(taken)
            if not any(reading.overlaps(other) for other in others)
        )
        number = next(free, len(taken))
        if number == len(taken):
            taken.append([])
        taken[number].append(reading)
        x = _BOX + _FIRST_LANE + _LANE * number
        lanes.append(Lane(reading.text, x, reading.start, reading.ends, number % _COLOURS))
    return tuple(lanes)
