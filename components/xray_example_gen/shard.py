"""Ingests one TFRecord file: reads, checks, adds features, writes to the splits, and counts."""

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
from records.examples import put_bytes, put_float, put_int, serialize
from records.intake import Accepted, Intake, Rejected
from records.metadata import Entry, Table, read_list, read_tables
from schemas import features
from schemas.labels import LABELS, OTHER, derived
from schemas.problem_names import DAMAGED_RECORD, NOT_IN_SPLIT_LISTS

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One input file.

    Attributes:
      path: full path.
      name: path under the data root, printable.
      number: 0-based position among all input files.
      of: number of all input files.
    """

    path: str
    name: str
    number: int
    of: int


@dataclasses.dataclass(frozen=True)
class Destination:
    """The folders that a shard writes to.

    Attributes:
      splits: split -> folder of its records.
      quarantine: folder of the records that cannot be used.
      staging: folder of unfinished files.
    """

    splits: Mapping[str, str]
    quarantine: str
    staging: str


@dataclasses.dataclass
class ShardReport:
    """The counts of one file.

    Attributes:
      name: of the file, printable.
      promised: number of records that the file name promises; None without one.
      records_in: records read. It counts damaged stretches too: each once held at least one record.
      records_out: split -> records.
      labels: split -> label -> records with 1.
      patients: split -> patient ids.
      notes: problem, see `records.intake.Accepted.notes` -> records.
      unknown: feature of the metadata table -> records in which it is unknown.
      origins: origin, see `records.origin` -> records.
      mislabelled: records whose label is wrong on purpose, in synthetic data.
      quarantined: a row of the quarantine's list for each record that cannot be used.
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
        """Counts an accepted record.

        Args:
          split: where the record goes.
          accepted: the record.
          added: label -> 0/1, derived from the record's own labels.
          truth: as in `records.origin.read_truth`.
        """
        self.records_out[split] += 1
        counts = self.labels.setdefault(split, Counter())
        counts.update(
            name for name, value in (*accepted.record.labels.items(), *added.items()) if value
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
def load_table(paths: tuple[str, ...], fingerprint: str) -> Table:
    """Reads the metadata tables, once for each process and fingerprint: 112,120 rows take a second.

    Raises:
      MetadataError, OSError: see `records.metadata.read_tables`.
    """
    del fingerprint
    return read_tables(paths)


@functools.lru_cache(maxsize=4)
def load_truth(paths: tuple[str, ...], fingerprint: str) -> dict[str, bool]:
    """Reads those of `paths` that exist, once for each process and fingerprint.

    Returns:
      Image id -> whether its label is wrong on purpose, see `records.origin.read_truth`.

    Raises:
      MetadataError, OSError: see `records.origin.read_truth`.
    """
    del fingerprint
    return {
        image_id: mislabelled
        for path in paths
        if storage.exists(path)
        for image_id, mislabelled in origin.read_truth(path).items()
    }


def table_paths(root: str, data: DataParameters) -> tuple[str, ...]:
    """The full paths of the metadata tables."""
    return tuple(storage.resolve(root, name) for name in data.tables)


def load_rules(root: str, data: DataParameters, fingerprint: str) -> tuple[Intake, Splitter]:
    """Reads the side files and builds the rules that check and split records.

    Args:
      root: the data root.
      data: as `data_files.locate` returns it.
      fingerprint: of the data.

    Raises:
      MetadataError: a side file is not valid, or contradicts another.
      OSError: a side file cannot be read.
    """
    tables = table_paths(root, data)
    metadata = load_table(tables, fingerprint) if tables else None
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
    """Ingests each `Shard` and yields its `ShardReport` as JSON, see `report.merge`.

    The records do not pass through Beam: they go straight to files.
    """

    def __init__(self, root: str, data: DataParameters, fingerprint: str, destination: Destination):
        self._root, self._data, self._fingerprint = root, data.model_dump_json(), fingerprint
        self._destination = destination

    def setup(self) -> None:
        """Reads the side files, once for each worker."""
        self._finished_files = 0
        self._intake, self._splitter = load_rules(
            self._root, DataParameters.model_validate_json(self._data), self._fingerprint
        )

    def process(self, shard: Shard) -> Iterator[str]:
        """Ingests one file and yields its report."""
        report = ShardReport(shard.name, tfrecord.promised_count(shard.name))
        data = DataParameters.model_validate_json(self._data)
        # `synth` writes one table and one truth.
        table = next(iter(table_paths(self._root, data)), None)
        truth = load_truth(
            tuple(origin.truth_places(self._root, shard.name, table)), self._fingerprint
        )
        with _Writers(self._destination, shard) as writers:
            for item in tfrecord.read(shard.path):
                report.records_in += 1
                self._ingest(item, shard, writers, report, truth)
        self._finished_files += 1
        _log.info('files', extra={'done': self._finished_files, 'total': shard.of})
        yield _to_json(report)

    def _ingest(
        self,
        item: tfrecord.Record | tfrecord.Damage,
        shard: Shard,
        writers: _Writers,
        report: ShardReport,
        truth: Mapping[str, bool],
    ) -> None:
        if isinstance(item, tfrecord.Damage):
            _quarantine(item, Rejected(item.reason, DAMAGED_RECORD), writers, report)
            return
        verdict = self._intake.judge(item.payload)
        if isinstance(verdict, Rejected):
            _quarantine(item, verdict, writers, report)
            return
        image_id = verdict.record.image_id
        split = self._splitter.assign(verdict.patient_id, image_id)
        if split is None:
            reason = (
                f'image {image_id!r} is in neither official list: complete the lists, or set '
                'data.split.method to patient_hash'
            )
            _quarantine(item, Rejected(reason, NOT_IN_SPLIT_LISTS, image_id), writers, report)
            return
        added = {**derived(verdict.record.labels), OTHER: verdict.record.other}
        writers.write(
            split, _with_features(item.payload, verdict, f'{shard.name}#{item.index}', added)
        )
        report.add(split, verdict, added, truth)


class _Writers:
    """The output files of one shard.

    They are opened when first needed, and moved to their folders when the shard is finished.
    """

    def __init__(self, destination: Destination, shard: Shard):
        self._destination, self._shard = destination, shard
        self._open: dict[str, tuple[tf.io.TFRecordWriter, str, str]] = {}

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        for writer, temporary, final in self._open.values():
            writer.close()
            if error_type is None:
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
            # Readers of a split read every file in it, even hidden ones, so an unfinished file must
            # not be there.
            temporary = os.path.join(
                self._destination.staging, f'{len(self._open)}-{name}-{uuid.uuid4().hex}'
            )
            # No gzip: it would not make JPEG smaller.
            self._open[folder] = (
                tf.io.TFRecordWriter(temporary),
                temporary,
                os.path.join(folder, name),
            )
        return self._open[folder][0]


def _quarantine(
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
    payload: bytes, accepted: Accepted, position: str, added: Mapping[str, int]
) -> bytes:
    """Adds the features from the metadata table, and those derived from the record.

    Args:
      payload: the serialized record.
      accepted: the parsed record.
      position: the record's file and number; becomes the image id of a record without one.
      added: label -> 0/1, derived from the record's own labels.
    """
    example = example_pb2.Example.FromString(payload)
    entry = accepted.entry or Entry(accepted.patient_id)
    texts = {
        features.IMAGE_ID: accepted.record.image_id or position,
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
    put_float(example, features.WEIGHT, accepted.record.weight)
    for name in set(example.features.feature) - _KNOWN - set(added):
        # Remove features that are not in the schema: the data gate would stop the run on them.
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
    features.WEIGHT,
}


def _to_json(report: ShardReport) -> str:
    content = dict(vars(report))
    content['patients'] = {split: sorted(patients) for split, patients in report.patients.items()}
    return json.dumps(content)
