"""Contact sheets: rows of X-rays with captions, for the documentation and for inspection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from records.synth.rendering import phantom
from schemas.labels import FINDINGS, NO_FINDING

_CAPTION = 20  # pixels
_GAP = 14  # pixels between columns of rows


def contact_sheet(
    path: Path, rows: Sequence[tuple[str, Sequence[np.ndarray]]], cell: int = 220, across: int = 1
) -> None:
    """Writes a PNG with a caption and its images in each row.

    Args:
      path: the file; its folder is created.
      rows: caption and uint8 [height, width] images; rows may differ in length.
      cell: side of an image on the sheet, pixels.
      across: number of rows side by side.

    Raises:
      ValueError: there are no images.
      OSError: the file cannot be written.
    """
    columns = max((len(images) for _, images in rows), default=0)
    if not columns:
        raise ValueError('a contact sheet needs at least one image')
    sheet = Image.new(
        'L',
        (across * (columns * cell + _GAP) - _GAP, -(-len(rows) // across) * (cell + _CAPTION)),
        255,
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default()
    for number, (caption, images) in enumerate(rows):
        x, y = number % across * (columns * cell + _GAP), number // across * (cell + _CAPTION)
        draw.text((x + 6, y + 4), caption, fill=0, font=font)
        for column, image in enumerate(images):
            small = Image.fromarray(image).resize((cell - 2, cell - 2), Image.Resampling.LANCZOS)
            sheet.paste(small, (x + column * cell + 1, y + _CAPTION))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, 'PNG')


def findings_sheet(path: Path, *, seed: int = 0, columns: int = 3, cell: int = 180) -> None:
    """Writes a sheet of normal chests and of each finding, with `columns` patients in each row.

    Every third image is AP.
    """
    rows = []
    for number, name in enumerate((NO_FINDING, *FINDINGS)):
        images = []
        for column in range(columns):
            patient = number * columns + column + 1
            findings = () if name == NO_FINDING else (name,)
            images.append(
                phantom(
                    findings,
                    seed=seed,
                    patient=patient,
                    sex='FM'[column % 2],
                    view='AP' if column % 3 == 2 else 'PA',
                    age=30 + 40 * column // columns,
                )
            )
        rows.append((name.replace('_', ' '), images))
    contact_sheet(path, rows, cell, across=3)
