"""The films of a data root in memory, as the pipeline stores them for training, and their folds by
patient.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.progress import track

from components.data_audit.inspection import source
from records import side_files, tfrecord
from records.data_root import fingerprint, scan
from records.examples import put_bytes, put_int, serialize
from records.images import open_header
from records.intake import KEEP, Intake, Rejected
from records.metadata import Entry, read_table
from schemas.features import IMAGE, IMAGE_ID, transformed
from schemas.labels import LABELS, derived
from schemas.problem_names import DAMAGED_RECORD
from trainer.input_pipeline import Split, open_split
from trainer.preprocessing import decode_and_resize, encode

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Films and what is known of them, all of length n.

    Attributes:
      key: names the data and the size.
      side: pixels of an image.
      stored: PNG bytes, as Transform writes them.
      ids: image ids.
      patients: str [n].
      labels: name -> 0/1 int [n].
      entries: the metadata table's lines.
      sources: str [n], what the files tell of the program that wrote them, see `inspection.source`.
    """

    key: str
    side: int
    stored: list[bytes]
    ids: list[str]
    patients: np.ndarray
    labels: dict[str, np.ndarray]
    entries: list[Entry]
    sources: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """A field of the metadata table."""
        return np.array([getattr(entry, name) for entry in self.entries])

    def chosen(self, rows: np.ndarray) -> Cohort:
        """Some of the films, by their places."""
        return dataclasses.replace(
            self,
            stored=[self.stored[row] for row in rows],
            ids=[self.ids[row] for row in rows],
            patients=self.patients[rows],
            labels={name: values[rows] for name, values in self.labels.items()},
            entries=[self.entries[row] for row in rows],
            sources=self.sources[rows],
        )


def load(root: Path, side: int) -> Cohort:
    """Reads all films of a data root in the layout of the NIH records, decoded and resized as the
    pipeline does it.

    Raises:
      DataRootError, MetadataError: the root holds no records, or its table cannot be used.
      ValueError: a record cannot be used.
    """
    data_root = scan(str(root))
    files = data_root.of_spans('all')
    table = side_files.resolve(side_files.TABLE, side_files.AUTO, data_root)
    intake = Intake(read_table(str(root / table)) if table else None, missing_metadata=KEEP)
    accepted, stored = [], []
    for file in track(files, description=f'reading films at {side} pixels', transient=True):
        verdicts = []
        for item in tfrecord.read(str(root / file.name)):
            verdict = (
                Rejected(item.reason, DAMAGED_RECORD)
                if isinstance(item, tfrecord.Damage)
                else intake.judge(item.payload)
            )
            if isinstance(verdict, Rejected):
                raise ValueError(f'{root / file.name}, record {item.index}: {verdict.reason}')
            verdicts.append(verdict)
        for start in range(0, len(verdicts), _BATCH):
            images = tf.constant(
                [verdict.record.image for verdict in verdicts[start : start + _BATCH]]
            )
            stored += encode(decode_and_resize(images, side)).numpy().tolist()
        # Without the film's own bytes.
        accepted += [
            (
                verdict.record.image_id or '',
                verdict.patient_id,
                verdict.record.labels,
                verdict.entry,
                source(open_header(verdict.record.image)),
            )
            for verdict in verdicts
        ]
    ids, patients, labels, entries, sources = zip(*accepted, strict=True)
    named = [row | derived(row) for row in labels]
    key = hashlib.sha256(f'{fingerprint(str(root), files)} {side}'.encode()).hexdigest()[:12]
    return Cohort(
        key,
        side,
        stored,
        list(ids),
        np.array(patients),
        {name: np.array([row[name] for row in named]) for name in named[0]},
        [entry or Entry(patient) for entry, patient in zip(entries, patients, strict=True)],
        np.array(sources),
    )


def split(cohort: Cohort, labels: Sequence[str], path: Path) -> Split:
    """The films as a split of transformed examples, written to `path`."""
    with tf.io.TFRecordWriter(str(path), 'GZIP') as writer:
        for row, image in enumerate(cohort.stored):
            example = tf.train.Example()
            put_bytes(example, transformed(IMAGE), image)
            put_bytes(example, IMAGE_ID, cohort.ids[row].encode())
            for name in (*LABELS, *derived(dict.fromkeys(LABELS, 0))):
                put_int(example, name, int(cohort.labels[name][row]))
            writer.write(serialize(example))
    return open_split([str(path)], labels, cohort.side)
