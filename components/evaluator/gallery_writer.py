"""Makes the pictures of the gallery: thumbnails and heat maps of the images that it shows."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

import storage
from components.evaluator import gallery, predictions
from components.serving_check.session_model import SessionModel
from records import tfrecord, thumbnails
from records.example_proto import Example
from schemas.features import IMAGE, IMAGE_ID, PATIENT_ID
from schemas.signatures import EXPLAIN, HEAT_MAP

_LOGGER = logging.getLogger(__name__)
_BATCH_SIZE = 32


def write(folder: str, example_files: Iterable[str], model: str) -> None:
    """Writes the gallery of an evaluation.

    It reads the examples once, and runs the model only on the images that the gallery shows.

    Args:
      folder: of the `evaluation` artifact, with its predictions.
      example_files: TFRecord files with the raw examples of the evaluated split.
      model: the folder of the candidate's SavedModel.

    Raises:
      OSError: a file cannot be read or written.
    """
    kept = predictions.read(folder)
    chosen = gallery.choose(kept)
    rows = sorted({row for positions in chosen.values() for row in positions})
    # Of images with the same id, nothing says which prediction is whose.
    keys = kept.loc[rows, [IMAGE_ID, PATIENT_ID]]
    is_ambiguous = kept.duplicated([IMAGE_ID, PATIENT_ID], keep=False)[rows]
    images = _images(keys[~is_ambiguous], example_files)
    heat_maps = _heat_maps(model, images)
    places = {
        kind: {row: place for place, row in enumerate(positions)}
        for kind, positions in chosen.items()
    }
    content = [
        {
            gallery.ROW: row,
            **{kind: places[kind].get(row) for kind in gallery.KINDS},
            gallery.THUMBNAIL: thumbnails.jpeg(images.get(row, b'')) or None,
            **_columns(heat_maps.get(row)),
        }
        for row in rows
    ]
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(content, gallery.SCHEMA), stream)
    storage.write_bytes(storage.join(folder, gallery.FILE), stream.getvalue())


def _images(keys: pd.DataFrame, example_files: Iterable[str]) -> dict[int, bytes]:
    """Row -> encoded image.

    Args:
      keys: image id and patient of each row; a record without an image id has a patient of its own.
      example_files: see `write`.
    """
    rows = {
        (image_id or '', patient or ''): row
        for row, image_id, patient in keys.itertuples(name=None)
    }
    images: dict[int, bytes] = {}
    for path in example_files:
        for record in tfrecord.read(path):
            if len(images) == len(rows):
                return images
            # The Evaluator itself has stopped at a damaged record; an empty split is such a file.
            if isinstance(record, tfrecord.Damage):
                continue
            features = Example.FromString(record.payload).features.feature
            row = rows.get((_text(features, IMAGE_ID), _text(features, PATIENT_ID)))
            if row is not None:
                images[row] = features[IMAGE].bytes_list.value[0]
    return images


def _text(features: Any, name: str) -> str:
    values = features[name].bytes_list.value
    return values[0].decode('utf-8', 'replace') if values else ''


def _heat_maps(model: str, images: dict[int, bytes]) -> dict[int, np.ndarray]:
    """Row -> heat map, float32 [height, width]; empty if the model has none."""
    if not images:
        return {}
    session = SessionModel(model)
    if EXPLAIN.name not in session.signatures:
        return {}
    rows = list(images)
    heat_maps: dict[int, np.ndarray] = {}
    for start in range(0, len(rows), _BATCH_SIZE):
        batch = rows[start : start + _BATCH_SIZE]
        heat_maps.update(
            zip(batch, _explain(session, [images[row] for row in batch]), strict=False)
        )
    return {row: heat for row, heat in heat_maps.items() if np.isfinite(heat).all()}


def _explain(session: SessionModel, images: Sequence[bytes]) -> Iterable[np.ndarray]:
    try:
        return session.run(EXPLAIN.name, {EXPLAIN.input: images})[HEAT_MAP]
    except tf.errors.OpError as error:
        # ServingCheck decides whether such a model may be served.
        _LOGGER.warning('The gallery has no heat maps of %d images: %s', len(images), error.message)
        return []


def _columns(heat_map: np.ndarray | None) -> dict[str, Any]:
    if heat_map is None or heat_map.ndim != 2:
        return {HEAT_MAP: None, gallery.HEAT_MAP_WIDTH: None}
    return {HEAT_MAP: heat_map.ravel().tolist(), gallery.HEAT_MAP_WIDTH: heat_map.shape[1]}
