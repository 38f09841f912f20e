"""Reads labelled images and what the network of a version says about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

import storage
from components.serving_check.samples import image_only
from components.serving_check.session_model import SessionModel
from components.xray_example_gen import data_files, shard
from components.xray_example_gen.parameters import DataParameters
from monitoring.recalibration import RecalibrationError
from records import tfrecord
from records.data_root import DataFile, fingerprint, scan
from records.intake import Accepted, image_digest
from schemas import image_status, signatures
from schemas.labels import derived
from trainer.calibration import Calibration

BATCH = 32
# With 8 times the temperature, no log odds that a model has come near the ends of a float32
# probability, 0 and 1, where they could not be read off any more.
_READ_OUT = 8.0


@dataclass(frozen=True)
class Source:
    """Where labelled images are.

    Attributes:
      root: the data root.
      spans: their numbers.
      fingerprint: of the files, see `records.data_root.fingerprint`.
      files: the record files.
      data: how records are read.
    """

    root: str
    spans: tuple[int, ...]
    fingerprint: str
    files: tuple[DataFile, ...]
    data: DataParameters


@dataclass(frozen=True)
class Record:
    """A labelled image.

    Attributes:
      image: encoded.
      image_id: '' if it has none.
      patient: the patient's id.
      labels: label -> 0 or 1.
      weight: how many images of its population it stands for.
    """

    image: bytes
    image_id: str
    patient: str
    labels: dict[str, int]
    weight: float


@dataclass(frozen=True)
class Scored:
    """The images that the model assessed.

    Attributes:
      patient: str [n].
      labels: 0/1 [n, outputs of the task].
      logits: of the network, float64 [n, outputs of the task].
      weights: how many images each one stands for, float64 [n].
      examples: a few of the images as serialized tf.Examples, with their positions among the n.
      left_out: why other records are not used -> their number.
    """

    patient: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    weights: np.ndarray
    examples: tuple[tuple[int, str, bytes], ...]
    left_out: dict[str, int]


def find(data: DataParameters) -> Source:
    """The record files that `data` names, with `root` set.

    Raises:
      DataRootError: there are none, or a side file is missing.
      OSError: a folder cannot be listed.
    """
    root = data.root
    assert root is not None
    # Who is in which split does not matter here.
    split = data.split.model_copy(update={'method': 'patient_hash'})
    content = scan(root, data.patterns)
    data = data_files.locate(data.model_copy(update={'split': split}), content)
    files = content.of_spans(data.spans)
    digest = fingerprint(root, files, data_files.side_paths(root, data))
    spans = tuple(sorted({file.span for file in files}))
    return Source(root, spans, digest, tuple(files), data)


def read(
    source: Source, is_known: Callable[[str, str], bool], left_out: Counter[str]
) -> Iterator[Record]:
    """Reads the usable records.

    Args:
      source: from `find`.
      is_known: whether the version learned from a patient or an image, by the patient's id and
        `records.intake.image_digest`.
      left_out: gets the number of records that are not used, by reason.

    Raises:
      MetadataError, OSError: the metadata table or a record file cannot be read.
    """
    intake, _ = shard.load_rules(source.root, source.data, source.fingerprint)
    for file in source.files:
        for item in tfrecord.read(storage.join(source.root, file.name)):
            if isinstance(item, tfrecord.Damage):
                left_out['damaged records'] += 1
                continue
            verdict = intake.judge(item.payload)
            if not isinstance(verdict, Accepted):
                left_out['records that a run would quarantine'] += 1
            elif is_known(verdict.patient_id, image_digest(verdict.record.image)):
                left_out['of patients that the version learned from'] += 1
            else:
                record = verdict.record
                labels = {**record.labels, **derived(record.labels)}
                name = record.image_id or ''
                yield Record(record.image, name, verdict.patient_id, labels, record.weight)


def score(
    model: SessionModel,
    records: Iterator[Record],
    read_outs: Mapping[str, Calibration],
    samples: int,
    left_out: Counter[str],
) -> Scored:
    """Asks a model for the logits of its network.

    Args:
      model: its session, with the calibrations `read_outs`.
      records: the images.
      read_outs: the labels that it predicts, that of the task first -> from `read_out`.
      samples: how many images to keep.
      left_out: gets the images that the model does not assess, by status.

    Raises:
      RecalibrationError: no image is left.
    """
    patients: list[str] = []
    labels: list[list[int]] = []
    logits: list[np.ndarray] = []
    weights: list[float] = []
    examples: list[tuple[int, str, bytes]] = []
    for batch in _batches(records):
        found, status = read_logits(model, [record.image for record in batch], read_outs)
        for record, row, name in zip(batch, found, status, strict=True):
            if name != image_status.OK:
                left_out[f'not assessed ({name})'] += 1
                continue
            if len(examples) < samples:
                image_id = record.image_id or f'image {len(patients)}'
                examples.append((len(patients), image_id, image_only(record.image)))
            patients.append(record.patient)
            labels.append([record.labels[label] for label in read_outs])
            logits.append(row)
            weights.append(record.weight)
    if not patients:
        raise none_left(left_out)
    return Scored(
        np.array(patients),
        np.array(labels),
        np.stack(logits),
        np.array(weights),
        tuple(examples),
        dict(left_out),
    )


def none_left(left_out: Counter[str]) -> RecalibrationError:
    """The error for data without a usable image."""
    reasons = ', '.join(f'{count:,} {reason}' for reason, count in left_out.items())
    return RecalibrationError(
        f'no image can be used: {reasons or "there are no records"}. Give other data with '
        '--data-root or --spans'
    )


def read_out(served: Calibration) -> Calibration:
    """The calibration with which logits can be read off the probabilities of a model."""
    return Calibration(served.offset, served.temperature * _READ_OUT)


def read_logits(
    model: SessionModel, images: Sequence[bytes], read_outs: Mapping[str, Calibration]
) -> tuple[np.ndarray, list[str]]:
    """The logits of a network, and the status of each image.

    Args:
      model: its session, with the calibrations `read_outs`.
      images: encoded.
      read_outs: see `score`.

    Returns:
      Logits, float64 [n, outputs]; meaningless where the status is not `ok`.
    """
    answers = model.run(signatures.IMAGES.name, {signatures.IMAGES.input: list(images)})
    names = (signatures.PROBABILITY, *list(read_outs)[1:])
    columns = []
    for name, calibration in zip(names, read_outs.values(), strict=True):
        with np.errstate(divide='ignore'):
            log_odds = special.logit(answers[name].astype(np.float64))
        columns.append(log_odds * calibration.temperature + calibration.offset)
    return np.stack(columns, axis=1), [status.decode() for status in answers[signatures.STATUS]]


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
