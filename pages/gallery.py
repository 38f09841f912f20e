"""The gallery page: test images that the model got wrong or decided narrowly, with heat maps."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from components.evaluator import gallery, predictions
from components.evaluator.gallery import BORDERLINE, CHANGED, FALSE_ALARM, MISSED
from components.evaluator.predictions import LABEL, SERVED
from pages import names
from pages.measured import Evaluation
from pages.runs import Run
from schemas.features import AGE, AGE_BAND, AGE_BANDS, IMAGE_ID, SEX, SEXES, UNKNOWN, VIEW, VIEWS
from schemas.labels import FINDINGS
from schemas.signatures import FLAG, HEAT_MAP, PROBABILITY
from trainer import heat_maps

FOLDER = 'gallery'
_EARLIER_VERSION = (
    'An earlier version made this evaluation, without pictures. Run the pipeline again to add them.'
)
# Findings of a card, most likely first, with what the model says of each.
_FINDINGS = 4
# Feature -> its values.
_FILTERS = {SEX: SEXES, VIEW: VIEWS, AGE_BAND: AGE_BANDS}


@dataclasses.dataclass(frozen=True)
class Card:
    """One image as the page shows it.

    Attributes:
      image_id: the name of the image, or that it has none.
      thumbnail: path of the picture, relative to the page; '' without one.
      size: width and height of the picture in pixels.
      probability: of the positive class, 0..1.
      flagged: whether the model flags the image.
      positive: whether the image is positive.
      served: (probability, flagged) of the served model; None without one.
      findings: labels of the image that are findings.
      predicted: finding -> probability, the most likely ones first; empty for a task without them.
      person: age, sex and view position, as far as they are known.
      groups: filter -> value.
      heat_map: `WIDTH:` and base64 of a uint8 for each part of the image; '' if no part speaks for
        the positive class; None if it is not available.
    """

    image_id: str
    thumbnail: str
    size: tuple[int, int]
    probability: float
    flagged: bool
    positive: bool
    served: tuple[float, bool] | None
    findings: list[str]
    predicted: dict[str, float]
    person: str
    groups: dict[str, str]
    heat_map: str | None


@dataclasses.dataclass(frozen=True)
class Section:
    """The images of one kind: its name as an anchor, its title, what they are, and the cards."""

    name: str
    title: str
    text: str
    cards: list[Card]


def context(run: Run, evaluation: Evaluation | None, why: str) -> dict[str, Any]:
    """The values of the template gallery.html.

    Args:
      run: the run.
      evaluation: None if the run did not finish its Evaluator.
      why: the reason, without an evaluation.

    Raises:
      OSError, ValueError: the artifact is damaged.
    """
    if evaluation is None:
        return {'missing': why}
    kept, examples = evaluation.predictions, evaluation.gallery
    if kept is None or examples is None:
        return {'missing': _EARLIER_VERSION}
    cards = [_card(row, kept.iloc[row[gallery.ROW]]) for row in examples.to_dict('records')]
    return {
        'missing': '',
        'sections': list(_sections(run, kept, examples, cards)),
        'filters': list(_filters(cards)),
        **run.class_names,
        'images': len(kept),
        'left_out': int((~gallery.usable(kept)).sum()),
        'first': gallery.FIRST,
        'first_in_group': gallery.FIRST_IN_GROUP,
        'has_heat_maps': any(card.heat_map is not None for card in cards),
        'label': names.label,
    }


def pictures(evaluation: Evaluation) -> Iterator[tuple[str, bytes]]:
    """(name of the file in FOLDER, JPEG) of each thumbnail.

    Raises:
      OSError, ValueError: the artifact is damaged.
    """
    examples = evaluation.gallery
    for row in examples.to_dict('records') if examples is not None else ():
        if row[gallery.THUMBNAIL]:
            yield _file(row), row[gallery.THUMBNAIL]


def _file(row: dict[str, Any]) -> str:
    return f'{row[gallery.ROW]}.jpg'


def _sections(
    run: Run, kept: pd.DataFrame, examples: pd.DataFrame, cards: list[Card]
) -> Iterator[Section]:
    ranked = gallery.ranked(kept)
    point = _operating_point(run)
    where = 'the operating point' + (f', {point:.3f}' if point is not None else '')
    counts = {kind: f'{len(ranked[kind]):,}' for kind in gallery.KINDS}
    for kind, title, text in (
        (
            MISSED,
            'Missed',
            f'{counts[MISSED]} positive images that the model does not flag, lowest probability '
            'first.',
        ),
        (
            FALSE_ALARM,
            'False alarms',
            f'{counts[FALSE_ALARM]} negative images that the model flags, highest probability '
            'first.',
        ),
        (BORDERLINE, 'Borderline', f'Images with a probability near {where}, nearest first.'),
        (
            CHANGED,
            'Flag changed',
            f'{counts[CHANGED]} images that only one of this model and the served one flags, '
            'largest change first.'
            if SERVED + FLAG in kept
            else 'No model was served when this run began, so nothing can be compared.',
        ),
    ):
        places = examples[kind].dropna().sort_values()
        cards_of_kind = [cards[position] for position in places.index]
        yield Section(kind.replace('_', '-'), title, text, cards_of_kind)


def _operating_point(run: Run) -> float | None:
    return ((run.model_info or {}).get('operating_point') or {}).get('threshold')


def _filters(cards: list[Card]) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """(name, title, [(value, title)]) of each filter, with the values that an image has."""
    for feature, values in _FILTERS.items():
        present = {card.groups[feature] for card in cards}
        ordered = [value for value in dict.fromkeys((*values, UNKNOWN)) if value in present]
        title = names.group(feature).capitalize()
        yield feature, title, [(value, names.value(feature, value)) for value in ordered]
    findings = {finding for card in cards for finding in card.findings}
    titles = [(name, names.label(name)) for name in FINDINGS if name in findings]
    yield 'finding', 'Finding', titles


def _card(row: dict[str, Any], image: pd.Series) -> Card:
    thumbnail = row[gallery.THUMBNAIL]
    groups = {feature: str(image[feature] or UNKNOWN) for feature in _FILTERS}
    served = None
    if SERVED + FLAG in image and pd.notna(image[SERVED + FLAG]):
        served = float(image[SERVED + PROBABILITY]), image[SERVED + FLAG] == 1
    return Card(
        image_id=image[IMAGE_ID] or 'image without an id',
        thumbnail=os.path.join(FOLDER, _file(row)) if thumbnail else '',
        size=Image.open(io.BytesIO(thumbnail)).size if thumbnail else (0, 0),
        probability=float(image[PROBABILITY]),
        flagged=image[FLAG] == 1,
        positive=image[LABEL] == 1,
        served=served,
        findings=[name for name in FINDINGS if name in image and image[name] == 1],
        predicted=_predicted(image),
        person=_person(image, groups),
        groups=groups,
        heat_map=_heat_map(row),
    )


def _predicted(image: pd.Series) -> dict[str, float]:
    columns = {name: predictions.probability_of(name) for name in FINDINGS}
    values = {name: float(image[column]) for name, column in columns.items() if column in image}
    return dict(sorted(values.items(), key=lambda pair: -pair[1])[:_FINDINGS])


def _person(image: pd.Series, groups: dict[str, str]) -> str:
    parts = [
        f'{int(image[AGE])} years' if pd.notna(image[AGE]) and image[AGE] >= 0 else '',
        *(names.value(name, groups[name]) for name in (SEX, VIEW) if groups[name] != UNKNOWN),
    ]
    return ', '.join(filter(None, parts)) or 'age, sex and view unknown'


def _heat_map(row: dict[str, Any]) -> str | None:
    """See the attribute `heat_map` of a Card; the values are those of `heat_maps.grey`."""
    if row[HEAT_MAP] is None or row[gallery.THUMBNAIL] is None:
        return None
    width = int(row[gallery.HEAT_MAP_WIDTH])
    grey = heat_maps.grey(np.asarray(row[HEAT_MAP]).reshape(-1, width))
    return f'{width}:{base64.b64encode(grey.tobytes()).decode()}' if grey.any() else ''
