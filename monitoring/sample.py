"""The images that a comparison is about, as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from schemas.signatures import EMBEDDING, EMBEDDING_SIZE
from serving.assessment import description
from serving.assessment.description import Description

# Of each side of a comparison. More make the test slower, with the square of their number, and
# hardly stronger.
MAX_IMAGES = 2000
# What is known of an image beside its description.
NOT_ASSESSED, PROBABILITY, FLAG, AP = 'not_assessed', 'probability', 'flag', 'ap'
TITLES = {
    NOT_ASSESSED: 'Not assessed, share',
    PROBABILITY: 'Calibrated probability',
    FLAG: 'Flagged, share of the assessed images',
    AP: 'View from front to back (AP), share of the images whose view is known',
    **description.NAMES,
}
SHARES = (NOT_ASSESSED, FLAG, AP)
# What is many numbers for each image.
PATTERN = 'pattern'
VECTORS = {
    PATTERN: 'Pattern of the image: brightness, edges, details',
    EMBEDDING: 'What the network sees in the image (embedding)',
}


@dataclass(frozen=True)
class Sample:
    """n images.

    Attributes:
      groups: str [n]; images of a patient, or of a study where patients are not known, have equal
        values, since they are not independent.
      columns: name of TITLES -> float64 [n]; NaN where it is not known. A column may be missing.
      vectors: name of VECTORS -> float32 [n, length], likewise.
    """

    groups: np.ndarray
    columns: dict[str, np.ndarray]
    vectors: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, rows: np.ndarray) -> Sample:
        """The images at these positions, or of a mask."""
        return replace(
            self,
            groups=self.groups[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
            vectors={name: values[rows] for name, values in self.vectors.items()},
        )


def build(
    groups: Sequence[str],
    descriptions: Sequence[Description | None],
    embeddings: Sequence[np.ndarray | None],
    columns: dict[str, np.ndarray],
) -> Sample:
    """A sample from descriptions and embeddings; None for an image that has none.

    Args:
      groups: of each image.
      descriptions, embeddings: of each image.
      columns: what else is known, see `Sample`.
    """
    named = np.full((len(groups), len(description.NAMES)), np.nan)
    pattern = np.full((len(groups), description.PATTERN_LENGTH), np.nan, np.float32)
    for row, item in enumerate(descriptions):
        if item is not None:
            named[row], pattern[row] = item.named, item.pattern
    seen = np.full((len(groups), EMBEDDING_SIZE), np.nan, np.float32)
    for row, embedding in enumerate(embeddings):
        if embedding is not None:
            seen[row] = embedding
    if PROBABILITY in columns:
        # As the model answers it: two records of one number must not differ.
        rounded = columns[PROBABILITY].astype(np.float32).astype(np.float64)
        columns = columns | {PROBABILITY: rounded}
    return Sample(
        np.asarray(groups, dtype=str),
        columns | dict(zip(description.NAMES, named.T, strict=True)),
        {PATTERN: pattern, EMBEDDING: seen},
    )


def join(first: Sample, second: Sample) -> Sample:
    """The images of both, with what both have."""

    def joined(here: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            name: np.concatenate([values, there[name]])
            for name, values in here.items()
            if name in there
        }

    return Sample(
        np.concatenate([first.groups, second.groups]),
        joined(first.columns, second.columns),
        joined(first.vectors, second.vectors),
    )


def is_ap(views: Iterable[str]) -> np.ndarray:
    """The column AP of images with these views; all but PA and AP are not known."""
    return np.array([{'AP': 1.0, 'PA': 0.0}.get(view, np.nan) for view in views])
