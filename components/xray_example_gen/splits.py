"""Assigns patients to splits, by a hash of the patient or by the official NIH lists."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass

from records.metadata import Entry, MetadataError, nih_patient
from schemas.features import SPLITS

TEST = 'test'


@dataclass(frozen=True)
class OfficialLists:
    """The image ids of the official split; no patient is in both lists."""

    train_val: Set[str]
    test: Set[str]

    def check(self, metadata: Mapping[str, Entry] | None) -> None:
        """Checks that no patient is in both lists.

        Args:
          metadata: image id -> its entry in the metadata table; without one, the patient comes from
            the image id.

        Raises:
          MetadataError: a patient is in both lists.
        """

        def patients(names: Set[str]) -> set[str]:
            entries = metadata or {}
            return {
                (entries[name].patient_id if name in entries else '') or nih_patient(name) or name
                for name in names
            }

        shared = sorted(patients(self.train_val) & patients(self.test))
        if shared:
            raise MetadataError(
                f'{len(shared)} patients are in both the train_val list and the test list, e.g. '
                f'{", ".join(shared[:5])}'
            )


@dataclass(frozen=True)
class Splitter:
    """Assigns records to `SPLITS`; all records of a patient go to the same split.

    Attributes:
      fractions: split -> share of the patients, 0..1; they sum to 1. A split with 0 stays empty.
      seed: another seed gives another assignment.
      official: the official lists. If set, `test` is the official test list, and the other splits
        divide the train_val list in the proportions of their fractions.
    """

    fractions: Mapping[str, float]
    seed: int = 0
    official: OfficialLists | None = None

    def assign(self, patient_id: str, image_id: str | None) -> str | None:
        """The split of a record; None if the official lists are used and do not name the image."""
        if self.official is None:
            return self._by_hash(patient_id, SPLITS)
        if image_id in self.official.test:
            return TEST
        if image_id in self.official.train_val:
            return self._by_hash(patient_id, tuple(split for split in SPLITS if split != TEST))
        return None

    def _by_hash(self, patient_id: str, splits: tuple[str, ...]) -> str:
        digest = hashlib.sha256(f'{self.seed}:{patient_id}'.encode()).digest()
        position = (
            int.from_bytes(digest[:8], 'big')
            / 2**64
            * sum(self.fractions.get(split, 0.0) for split in splits)
        )
        for split in splits:
            position -= self.fractions.get(split, 0.0)
            if position < 0:
                return split
        return next(split for split in reversed(splits) if self.fractions.get(split, 0.0) > 0)
