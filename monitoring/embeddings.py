"""What a version answers about images, with embeddings: by the signature that the gateway asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import tensorflow as tf

from components.serving_check.session_model import SessionModel
from schemas import image_status
from schemas.signatures import EMBED, STATUS

_BATCH = 16
_Key = TypeVar('_Key')


def answers(
    model_dir: str, images: Iterable[tuple[_Key, bytes]]
) -> Iterator[tuple[_Key, bytes, dict[str, Any]]]:
    """Each key and encoded image with the outputs of `schemas.signatures.EMBED`.

    There are none if the model does not assess the image, has no embeddings, or cannot be loaded.
    """
    model = _load(model_dir)
    remaining = iter(images)
    while batch := list(islice(remaining, _BATCH)):
        rows: list[dict[str, Any]] = [{} for _ in batch]
        if model:
            outputs = model.run(EMBED.name, {EMBED.input: [content for _, content in batch]})
            for row, status in enumerate(outputs[STATUS]):
                if status == image_status.OK.encode():
                    rows[row] = {name: values[row] for name, values in outputs.items()}
        for (key, content), row_outputs in zip(batch, rows, strict=True):
            yield key, content, row_outputs


def _load(model_dir: str) -> SessionModel | None:
    try:
        model = SessionModel(model_dir)
    except (tf.errors.OpError, OSError, RuntimeError):
        return None
    return model if EMBED.name in model.signatures else None
