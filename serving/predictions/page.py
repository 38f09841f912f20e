"""One HTML page of the answers, with everything in it: thumbnails and heat maps too."""

from __future__ import annotations

import base64
import datetime
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from records import thumbnails
from records.terminal import printable
from schemas import image_status, signatures
from serving.image_formats.error import UploadError
from serving.predictions import files, scoring
from serving.predictions.models import Model
from serving.predictions.scoring import Answer
from trainer import heat_maps

_TEMPLATE = Path(__file__).with_name('page.html')
_BATCH = 16
# Colour-blind people see this orange on grey.
_HEAT = (255, 120, 0)


@dataclass(frozen=True)
class Row:
    """An answer, with URLs of the pictures ('' for none)."""

    answer: Answer
    thumbnail: str = ''
    heat_map: str = ''


def build(
    model: Model,
    answers: Sequence[Answer],
    limit: int,
    advance: Callable[[int], None] = lambda count: None,
) -> bytes:
    """The page.

    Args:
      model: gives the heat maps.
      answers: sorted.
      limit: how many of them, from the first on, the page shows.
      advance: called with the number of images that were drawn.

    Raises:
      ModelError: the model does not answer.
    """
    rows: list[Row] = []
    for start in range(0, min(limit, len(answers)), _BATCH):
        batch = answers[start : min(start + _BATCH, limit)]
        rows += _rows(model, batch)
        advance(len(batch))
    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    ).from_string(_TEMPLATE.read_text(encoding='utf-8'))
    return template.render(
        model=model,
        rows=rows,
        total=len(answers),
        flagged=sum(answer.flag for answer in answers),
        unread=sum(answer.probability is None for answer in answers),
        printable=printable,
        written=f'{datetime.datetime.now():%Y-%m-%d %H:%M}',
    ).encode()


def _rows(model: Model, answers: Sequence[Answer]) -> Iterator[Row]:
    contents: dict[str, bytes] = {}
    for answer in answers:
        try:
            contents[answer.file] = files.read(answer.file)
        except (UploadError, OSError):
            continue
    shown = [
        answer.file
        for answer in answers
        if answer.status == image_status.OK and answer.file in contents
    ]
    outputs = scoring.ask(model, signatures.EXPLAIN, [contents[file] for file in shown])
    heat = {
        file: output[signatures.HEAT_MAP]
        for file, output in zip(shown, outputs, strict=True)
        if not isinstance(output, str)
    }
    for answer in answers:
        thumbnail = _url('jpeg', thumbnails.jpeg(contents.get(answer.file, b'')))
        overlay = _overlay(heat[answer.file]) if thumbnail and answer.file in heat else ''
        yield Row(answer, thumbnail, overlay)


def _overlay(heat: np.ndarray) -> str:
    """The URL of a PNG with one pixel for each part of the image, to lay over it."""
    grey = heat_maps.grey(heat)
    colours = np.broadcast_to(np.array(_HEAT, np.uint8), (*grey.shape, 3))
    stream = io.BytesIO()
    Image.fromarray(np.dstack([colours, grey])).save(stream, 'PNG')
    return _url('png', stream.getvalue())


def _url(kind: str, content: bytes) -> str:
    """A picture as a URL; '' for none."""
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}' if content else ''
