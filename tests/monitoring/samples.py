"""Samples of images that were never drawn: only their numbers."""

from __future__ import annotations

import numpy as np

from monitoring.sample import NOT_ASSESSED, PATTERN, PROBABILITY, Sample
from schemas.signatures import EMBEDDING, EMBEDDING_SIZE
from serving.assessment.description import PATTERN_LENGTH


def sample(count: int, seed: int, per_group: int = 1, **shifts: float) -> Sample:
    """Normally distributed numbers; `shifts` moves the mean of a column or vector."""
    rng = np.random.default_rng(seed)
    number = np.arange(count) // per_group
    # Images of a group are alike.
    shared = rng.normal(size=(number.max() + 1, PATTERN_LENGTH))[number]
    columns = {
        NOT_ASSESSED: (rng.random(count) < 0.1 + shifts.get(NOT_ASSESSED, 0)).astype(float),
        PROBABILITY: shared[:, 0] + rng.normal(size=count) * 0.1 + shifts.get(PROBABILITY, 0),
        'constant': np.ones(count),
    }
    pattern = shared + shifts.get(PATTERN, 0)
    embedding = rng.normal(size=(count, EMBEDDING_SIZE)) + shifts.get(EMBEDDING, 0)
    names = np.array([f'{seed}-{group}' for group in number])
    return Sample(names, columns, {PATTERN: pattern, EMBEDDING: embedding})
