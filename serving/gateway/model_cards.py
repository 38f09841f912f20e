"""Finds the model card of a pushed version: in the pages of the run root beside its push directory.

A push directory that was copied elsewhere, or is in an object store, has no cards.
"""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import ValidationError

import storage
from components.pusher import target as push_target
from pages import recalibrated_card
from pages.card import ModelCard
from pipeline import run_record
from pipeline.run_root import RunRoot

_FILE = 'model_card.json'


class UnreadableCardError(ValueError):
    """A model card is damaged or of another release; the text says what to do."""


def find(target: str, version: int) -> ModelCard | None:
    """The card of a version, by the run that its manifest names; None if there is none.

    A recalibrated version has the card of the version that was trained, with its own calibration.

    Args:
      target: the push directory.
      version: the number of a version there.

    Raises:
      UnreadableCardError: the card is damaged, or another release wrote it.
    """
    root = RunRoot(Path(target).parent)
    try:
        manifest = push_target.read_manifest(storage.join(target, str(version)))
        trained = manifest
        while trained.recalibration:
            trained = push_target.read_manifest(
                storage.join(target, trained.recalibration.of_version)
            )
        path = root.pages / 'runs' / run_record.run_id(manifest.run_id) / _FILE
        card = _read(path, path.stat().st_mtime_ns)
    except (ValidationError, UnicodeDecodeError) as error:
        raise UnreadableCardError(
            f'the model card of version {version} cannot be read: it is damaged, or another '
            f'release wrote it; "cxr-triage report --root {root.path}" writes it anew'
        ) from error
    except (push_target.TargetError, OSError):
        return None
    # A root may be removed and used again by other runs.
    if trained.version not in card.details.served_as.split():
        return None
    return recalibrated_card.build(card, manifest) if manifest.recalibration else card


@functools.lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> ModelCard:
    del changed
    return ModelCard.model_validate_json(path.read_text(encoding='utf-8'))
