"""Transformed examples to batches of pixels and labels, in an order that depends on seed and epoch
alone.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

import storage
from schemas.features import IMAGE, IMAGE_ID, transformed
from trainer import augmentation
from trainer.parameters import TrainParameters
from trainer.preprocessing import decode_stored

# The cores that this process may use.
_CORES = len(os.sched_getaffinity(0))
_COMPRESSION = 'GZIP'  # what TFX's Transform writes
_GZIP_END_BYTES = 8  # CRC-32 and length
_FILES_AT_ONCE = 4
_PREFETCHED = 4  # batches that are ready before they are asked for
_SMALL_BATCH = 1024  # records a batch where only labels or names are read


@dataclasses.dataclass(frozen=True)
class Split:
    """The transformed examples of a split.

    Attributes:
      files: its TFRecord files.
      labels: the names of the label features; the first is the one that the task is about.
      image_size: pixels a side.
      values: 0/1 uint8 [records, labels], in the order of `evaluation_batches`.
    """

    files: tuple[str, ...]
    labels: tuple[str, ...]
    image_size: int
    values: np.ndarray

    @property
    def records(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def positives(self) -> int:
        """How many have 1 as their first label."""
        return int(self.values[:, 0].sum())


def open_split(patterns: Sequence[str], labels: Sequence[str], image_size: int) -> Split:
    """Lists the files and reads the labels, one pass over them.

    Raises:
      ValueError: the split has no files or holds no records.
    """
    files = tuple(sorted(name for pattern in patterns for name in storage.glob(pattern)))
    if not files:
        raise ValueError(
            f'no files of transformed examples in {", ".join(patterns) or "no directory at all"}'
        )
    dataset = _examples(files, {label: tf.io.FixedLenFeature([1], tf.int64) for label in labels})
    parts = [
        np.concatenate([example[label].numpy() for label in labels], axis=1) for example in dataset
    ]
    if not parts:
        raise ValueError(f'no transformed examples in {", ".join(patterns)}')
    return Split(files, tuple(labels), image_size, np.concatenate(parts).astype(np.uint8))


def content_key(split: Split) -> str:
    """A text that changes with the content of a split's files: the end of a gzip file holds a
    checksum of what it unpacks to.
    """
    parts = []
    for path in split.files:
        size = storage.stat(path).size
        with storage.open_binary(path) as file:
            file.seek(max(size - _GZIP_END_BYTES, 0))
            parts.append(f'{os.path.basename(path)} {size} {file.read().hex()}')
    return ' '.join(parts)


def steps_per_epoch(split: Split, parameters: TrainParameters) -> int:
    """Batches an epoch, the last one maybe smaller than the others."""
    steps = -(-_records_an_epoch(split, parameters) // parameters.batch_size)
    return min(steps, parameters.max_steps_per_epoch or steps)


def _records_an_epoch(split: Split, parameters: TrainParameters) -> int:
    if parameters.balance != 'undersample':
        return split.records
    return split.positives + min(
        split.records - split.positives, round(parameters.negatives_per_positive * split.positives)
    )


def _undersampled(split: Split, parameters: TrainParameters, seed: int) -> np.ndarray:
    """Which records an epoch with undersampling takes, bool [records]: all positives, and a draw of
    the negatives.
    """
    selected = split.values[:, 0] == 1
    negatives = np.flatnonzero(~selected)
    count = _records_an_epoch(split, parameters) - split.positives
    selected[np.random.default_rng(seed).choice(negatives, count, replace=False)] = True
    return selected


def training_batches(split: Split, parameters: TrainParameters, epoch: int) -> tf.data.Dataset:
    """Shuffled, augmented batches of one epoch; epoch k is the same however training came to it.

    Returns:
      Dataset of (float32 [batch, side, side, 1], 0..255; float32 [batch, labels]).
    """
    seed = epoch + parameters.seed * 100_003 + 1
    files = tf.data.Dataset.from_tensor_slices(list(split.files))
    if parameters.balance == 'undersample':
        # In file order, in which the labels are known.
        selected = tf.constant(_undersampled(split, parameters, seed))
        serialized = (
            _serialized(files)
            .enumerate()
            .filter(lambda place, _: selected[place])
            .map(lambda _, record: record)
        )
    else:
        serialized = _serialized(
            files.shuffle(len(split.files), seed=seed, reshuffle_each_iteration=False)
        )
    buffer = min(parameters.shuffle_buffer, split.records)
    # Reshuffled, the dataset would give another order each time it is read, and not that of its
    # epoch.
    serialized = serialized.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
    batches = serialized.batch(parameters.batch_size).take(steps_per_epoch(split, parameters))

    def augmented(step: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, labels = _parse(batch, split)
        return augmentation.augment(
            pixels, tf.stack([tf.constant(seed, tf.int64), step]), parameters.augmentation
        ), labels

    return _ready(batches.enumerate().map(augmented, num_parallel_calls=_CORES, deterministic=True))


def evaluation_batches(split: Split, batch_size: int) -> tf.data.Dataset:
    """Each record once, in file order: (uint8 [batch, side, side, 1], float32 [batch, labels])."""
    files = tf.data.Dataset.from_tensor_slices(list(split.files))
    dataset = (
        _serialized(files)
        .batch(batch_size)
        .map(lambda batch: _parse(batch, split), num_parallel_calls=_CORES)
    )
    return _ready(dataset)


def image_ids(split: Split) -> list[str]:
    """The image id of each record, in the order of `evaluation_batches`."""
    dataset = _examples(split.files, {IMAGE_ID: tf.io.FixedLenFeature([1], tf.string)})
    return [name.decode() for example in dataset for name in example[IMAGE_ID].numpy()[:, 0]]


def _serialized(files: tf.data.Dataset) -> tf.data.Dataset:
    return files.interleave(
        lambda name: tf.data.TFRecordDataset(name, compression_type=_COMPRESSION),
        cycle_length=_FILES_AT_ONCE,
        num_parallel_calls=min(_FILES_AT_ONCE, _CORES),
        deterministic=True,
    )


def _examples(files: Sequence[str], spec: dict) -> tf.data.Dataset:
    """Features of `spec` in batches, in file order."""
    serialized = _serialized(tf.data.Dataset.from_tensor_slices(list(files)))
    return _ready(
        serialized.batch(_SMALL_BATCH).map(lambda batch: tf.io.parse_example(batch, spec))
    )


def _ready(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Read ahead, with as many threads as were asked for.

    tf.data's own choice of the number costs the end of every epoch: now and then (TensorFlow 2.16
    and 2.21) the iterator waits there for the thread that chooses, which sleeps 10 ms, then 20 ms,
    and so on up to a minute.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(_PREFETCHED).with_options(options)


def _parse(serialized: tf.Tensor, split: Split) -> tuple[tf.Tensor, tf.Tensor]:
    name = transformed(IMAGE)
    spec = {name: tf.io.FixedLenFeature([], tf.string)} | {
        label: tf.io.FixedLenFeature([1], tf.int64) for label in split.labels
    }
    example = tf.io.parse_example(serialized, spec)
    labels = tf.concat([example[label] for label in split.labels], axis=1)
    return decode_stored(example[name], split.image_size), tf.cast(labels, tf.float32)
