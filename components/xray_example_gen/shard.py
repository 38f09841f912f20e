"""The work on one TFRecord file: read, judge, add features, write to the splits, keep count. Pixels
never leave this step.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping

import apache_beam as beam
import tensorflow as tf
from tensorflow.core.example import example_pb2

import storage
from components.xray_example_gen.artifact import QUARANTINE_RECORDS
from components.xray_example_gen.parameters import DataParameters
from components.xray_example_gen.splits import OfficialLists, Splitter
from records import origin, tfrecord
from records.examples import put_bytes, put_int, serialize
from records.intake import Accepted, Intake, Rejected
from records.metadata import Entry, Table, read_list, read_table
from schemas import features
from schemas.labels import LABELS, derived
from schemas.problem_names import DAMAGED_RECORD, NOT_IN_SPLIT_LISTS

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One input file: its path, its name under the data root, and its number of how many."""

    path: str
    name: str
    number: int
    of: int


@dataclasses.dataclass(frozen=True)
class Destination:
    """Where a shard's records go: a directory per split, the quarantine's directory, and one for
    files that are being written.
    """

    splits: Mapping[str, str]
    quarantine: str
    staging: str


@dataclasses.dataclass
class ShardReport:
    """What became of a file. `records_in` counts damaged stretches too: each of them held at least
    one record once.
    """

    name: str
    promised: int | None
    records_in: int = 0
    records_out: Counter = dataclasses.field(default_factory=Counter)
    labels: dict[str, Counter] = dataclasses.field(default_factory=dict)
    patients: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    notes: Counter = dataclasses.field(default_factory=Counter)
    unknown: Counter = dataclasses.field(default_factory=Counter)
    origins: Counter = dataclasses.field(default_factory=Counter)
    mislabelled: int = 0
    quarantined: list[dict] = dataclasses.field(default_factory=list)

    def add(
        self, split: str, accepted: Accepted, added: Mapping[str, int], truth: Mapping[str, bool]
    ) -> None:
        """Counts an accepted record, with its own labels and those added to them; `truth` as in
        `records.origin.read_truth`.
        """
        self.records_out[split] += 1
        counts = self.labels.setdefault(split, Counter())
        counts.update(
            name for name, set_ in (*accepted.record.labels.items(), *added.items()) if set_
        )
        self.patients.setdefault(split, set()).add(accepted.patient_id)
        self.notes.update(accepted.notes)
        entry = accepted.entry or Entry(accepted.patient_id)
        values = (
            (features.AGE, entry.age),
            (features.SEX, entry.sex),
            (features.VIEW, entry.view_position),
        )
        self.unknown.update(
            name for name, value in values if value in (features.UNKNOWN, features.UNKNOWN_NUMBER)
        )
        image_id = accepted.record.image_id
        self.origins[origin.of_image(image_id, accepted.entry, truth)] += 1
        self.mislabelled += truth.get(image_id or '', False)


@functools.lru_cache(maxsize=2)
def load_table(path: str, fingerprint: str) -> Table:
    """`read_table`, once a process and state of the data: 112,120 lines take a second."""
    del fingerprint
    return read_table(path)


@functools.lru_cache(maxsize=4)
def load_truth(places: tuple[str, ...], fingerprint: str) -> dict[str, bool]:
    """`origin.read_truth` of the files that are there, once a process and state of the data."""
    del fingerprint
    return {
        image: wrong
        for path in places
        if storage.exists(path)
        for image, wrong in origin.read_truth(path).items()
    }


def load_rules(root: str, data: DataParameters, fingerprint: str) -> tuple[Intake, Splitter]:
    """Builds what judges and what splits records, from the side files that the parameters name.

    Raises:
      MetadataError, OSError: a side file cannot be read or contradicts another.
    """
    metadata = (
        load_table(storage.resolve(root, data.metadata), fingerprint) if data.metadata else None
    )
    intake = Intake(
        metadata,
        missing_metadata=data.missing_metadata,
        patient_id_pattern=data.patient_id_pattern,
        min_side=data.min_side,
        max_side=data.max_side,
        exclude=read_list(storage.resolve(root, data.exclude)) if data.exclude else frozenset(),
    )
    official = None
    if data.split.method == 'official':
        official = OfficialLists(
            read_list(storage.resolve(root, data.split.train_val_list)),
            read_list(storage.resolve(root, data.split.test_list)),
        )
        official.check(metadata)
    return intake, Splitter(data.split.fractions, data.split.seed, official)


class IngestShard(beam.DoFn):
    """`Shard` in, JSON of what became of it out (see `report.merge`); the records themselves go
    straight into files.
    """

    def __init__(self, root: str, data: DataParameters, fingerprint: str, destination: Destination):
        self._root, self._data, self._fingerprint = root, data.model_dump_json(), fingerprint
        self._destination = destination

    def setup(self) -> None:
        """Reads the side files once a worker."""
        self._done = 0
        self._intake, self._splitter = load_rules(
            self._root, DataParameters.model_validate_json(self._data), self._fingerprint
        )

    def process(self, shard: Shard) -> Iterator[str]:
        """Reads the file to its end."""
        report = ShardReport(shard.name, tfrecord.promised_count(shard.name))
        data = DataParameters.model_validate_json(self._data)
        table = storage.resolve(self._root, data.metadata) if data.metadata else None
        truth = load_truth(
            tuple(origin.truth_places(self._root, shard.name, table)), self._fingerprint
        )
        with _Writers(self._destination, shard) as writers:
            for item in tfrecord.read(shard.path):
                report.records_in += 1
                self._take(item, shard, writers, report, truth)
        self._done += 1
        _log.info('files', extra={'done': self._done, 'total': shard.of})
        yield _to_json(report)

    def _take(
        self,
        item: tfrecord.Record | tfrecord.Damage,
        shard: Shard,
        writers: _Writers,
        report: ShardReport,
        truth: Mapping[str, bool],
    ) -> None:
        if isinstance(item, tfrecord.Damage):
            _set_aside(item, Rejected(item.reason, DAMAGED_RECORD), writers, report)
            return
        verdict = self._intake.judge(item.payload)
        if isinstance(verdict, Rejected):
            _set_aside(item, verdict, writers, report)
            return
        image_id = verdict.record.image_id
        split = self._splitter.assign(verdict.patient_id, image_id)
        if split is None:
            reason = (
                f'image {image_id!r} stands in neither official list: complete the lists, or set '
                'data.split.method to patient_hash'
            )
            _set_aside(item, Rejected(reason, NOT_IN_SPLIT_LISTS, image_id), writers, report)
            return
        added = derived(verdict.record.labels)
        writers.write(
            split, _with_features(item.payload, verdict, f'{shard.name}#{item.index}', added)
        )
        report.add(split, verdict, added, truth)


class _Writers:
    """The output files of one shard, opened as they are needed and moved into place only when the
    shard is through.
    """

    def __init__(self, destination: Destination, shard: Shard):
        self._destination, self._shard = destination, shard
        self._open: dict[str, tuple[tf.io.TFRecordWriter, str, str]] = {}

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, kind, value, trace) -> None:
        for writer, temporary, final in self._open.values():
            writer.close()
            if kind is None:
                storage.move(temporary, final, overwrite=True)
            else:
                storage.remove(temporary)

    def write(self, split: str, payload: bytes) -> None:
        self._writer(self._destination.splits[split], 'data_tfrecord').write(payload)

    def quarantine(self, payload: bytes) -> None:
        self._writer(self._destination.quarantine, QUARANTINE_RECORDS).write(payload)

    def _writer(self, folder: str, stem: str) -> tf.io.TFRecordWriter:
        if folder not in self._open:
            name = f'{stem}-{self._shard.number:05d}-of-{self._shard.of:05d}'
            # Readers of a split take every file in it, hidden ones too: what a killed worker leaves
            # must not lie there.
            temporary = os.path.join(
                self._destination.staging, f'{len(self._open)}-{name}-{uuid.uuid4().hex}'
            )
            # JPEG does not shrink further; gzip would only cost time.
            self._open[folder] = (
                tf.io.TFRecordWriter(temporary),
                temporary,
                os.path.join(folder, name),
            )
        return self._open[folder][0]


def _set_aside(
    item: tfrecord.Record | tfrecord.Damage,
    verdict: Rejected,
    writers: _Writers,
    report: ShardReport,
) -> None:
    writers.quarantine(item.payload)
    report.quarantined.append(
        {
            'file': report.name,
            'record': item.index,
            'offset': item.offset,
            'bytes': len(item.payload),
            'image_id': verdict.image_id,
            'kind': verdict.kind,
            'reason': verdict.reason,
        }
    )


def _with_features(
    payload: bytes, accepted: Accepted, place: str, added: Mapping[str, int]
) -> bytes:
    """The record with what is derived from it and from the metadata table; a record without an
    image id is named by its place.
    """
    example = example_pb2.Example.FromString(payload)
    entry = accepted.entry or Entry(accepted.patient_id)
    texts = {
        features.IMAGE_ID: accepted.record.image_id or place,
        features.PATIENT_ID: accepted.patient_id,
        features.SEX: entry.sex,
        features.VIEW: entry.view_position,
        features.AGE_BAND: features.age_band(entry.age),
    }
    for name, text in texts.items():
        put_bytes(example, name, text.encode())
    for name, number in {
        features.AGE: entry.age,
        features.FOLLOW_UP: entry.follow_up,
        **added,
    }.items():
        put_int(example, name, number)
    for name in set(example.features.feature) - _KNOWN - set(added):
        # Features that no schema of ours knows would stop the run as new columns; they stay in the
        # source.
        del example.features.feature[name]
    return serialize(example)


_KNOWN = {
    *LABELS,
    features.IMAGE,
    features.IMAGE_ID,
    features.PATIENT_ID,
    features.SEX,
    features.VIEW,
    features.AGE_BAND,
    features.AGE,
    features.FOLLOW_UP,
}


def _to_json(report: ShardReport) -> str:
    content = dict(vars(report))
    content['patients'] = {split: sorted(patients) for split, patients in report.patients.items()}
    return json.dumps(content)
