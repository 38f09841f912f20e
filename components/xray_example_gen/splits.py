"""Which split a patient belongs to: by hash of the patient, or by the official NIH lists."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass

from records.metadata import Entry, MetadataError, nih_patient
from schemas.features import SPLITS

TEST = 'test'


@dataclass(frozen=True)
class OfficialLists:
    """Image ids of the official split; disjoint by patient."""

    train_val: Set[str]
    test: Set[str]

    def check(self, metadata: Mapping[str, Entry] | None) -> None:
        """Raises MetadataError when an image, or a patient with it, stands in both lists."""

        def patients(names: Set[str]) -> set[str]:
            entries = metadata or {}
            return {
                (entries[name].patient_id if name in entries else '') or nih_patient(name) or name
                for name in names
            }

        both = sorted(patients(self.train_val) & patients(self.test))
        if both:
            raise MetadataError(
                f'{len(both)} patients stand in the train_val list and in the test list, e.g. '
                f'{", ".join(both[:5])}'
            )


@dataclass(frozen=True)
class Splitter:
    """Assigns records to `SPLITS`, all records of a patient to the same one.

    Attributes:
      fractions: split -> share of the patients, summing to 1; a split with share 0 stays empty.
      seed: another seed gives another assignment.
      official: with it, `test` is the official test list and the other splits share out train_val
        by their fractions.
    """

    fractions: Mapping[str, float]
    seed: int = 0
    official: OfficialLists | None = None

    def assign(self, patient_id: str, image_id: str | None) -> str | None:
        """The split of a record; None when official lists are given and name neither the image."""
        if self.official is None:
            return self._by_hash(patient_id, SPLITS)
        if image_id in self.official.test:
            return TEST
        if image_id in self.official.train_val:
            return self._by_hash(patient_id, tuple(split for split in SPLITS if split != TEST))
        return None

    def _by_hash(self, patient_id: str, splits: tuple[str, ...]) -> str:
        digest = hashlib.sha256(f'{self.seed}:{patient_id}'.encode()).digest()
        place = (
            int.from_bytes(digest[:8], 'big')
            / 2**64
            * sum(self.fractions.get(split, 0.0) for split in splits)
        )
        for split in splits:
            place -= self.fractions.get(split, 0.0)
            if place < 0:
                return split
        return next(split for split in reversed(splits) if self.fractions.get(split, 0.0) > 0)
