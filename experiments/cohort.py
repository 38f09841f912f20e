"""Loads the images of a data root as the pipeline stores them for training."""

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
    """n images with their metadata.

    Attributes:
      key: identifies the data and the image size.
      side: width and height of an image in pixels.
      stored: PNG bytes, as Transform writes them.
      ids: image ids.
      patients: str [n].
      labels: name -> 0/1 int [n].
      entries: rows of the metadata table.
      sources: str [n], see `inspection.source`.
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
        """A column of the metadata table."""
        return np.array([getattr(entry, name) for entry in self.entries])

    def subset(self, rows: np.ndarray) -> Cohort:
        """The images with the indices `rows`."""
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
    """Reads all images of a data root; decodes and resizes them as the pipeline does.

    Raises:
      DataRootError, MetadataError: the root has no records, or its metadata table is not valid.
      ValueError: a record is not valid.
    """
    data_root = scan(str(root))
    files = data_root.of_spans('all')
    table = side_files.resolve(side_files.TABLE, side_files.AUTO, data_root)
    intake = Intake(read_table(str(root / table)) if table else None, missing_metadata=KEEP)
    accepted, stored = [], []
    for file in track(files, description=f'reading images at {side} pixels', transient=True):
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
        # The image bytes are dropped here.
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
    all_labels = [row | derived(row) for row in labels]
    key = hashlib.sha256(f'{fingerprint(str(root), files)} {side}'.encode()).hexdigest()[:12]
    return Cohort(
        key,
        side,
        stored,
        list(ids),
        np.array(patients),
        {name: np.array([row[name] for row in all_labels]) for name in all_labels[0]},
        [entry or Entry(patient) for entry, patient in zip(entries, patients, strict=True)],
        np.array(sources),
    )


def split(cohort: Cohort, labels: Sequence[str], path: Path) -> Split:
    """Writes the images to `path` as a split of transformed examples."""
    with tf.io.TFRecordWriter(str(path), 'GZIP') as writer:
        for row, image in enumerate(cohort.stored):
            example = tf.train.Example()
            put_bytes(example, transformed(IMAGE), image)
            put_bytes(example, IMAGE_ID, cohort.ids[row].encode())
            for name in (*LABELS, *derived(dict.fromkeys(LABELS, 0))):
                put_int(example, name, int(cohort.labels[name][row]))
            writer.write(serialize(example))
    return open_split([str(path)], labels, cohort.side)
