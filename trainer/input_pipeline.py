"""Reads transformed examples into batches of pixels and labels.

The order depends only on the seed and the epoch.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

import storage
from schemas.features import IMAGE, IMAGE_ID, WEIGHT, transformed
from trainer import augmentation
from trainer.parameters import TrainParameters
from trainer.preprocessing import decode_stored

# The cores that this process may use.
_CORES = len(os.sched_getaffinity(0))
_COMPRESSION = 'GZIP'  # what TFX's Transform writes
_GZIP_END_BYTES = 8  # CRC-32 and length
_FILES_AT_ONCE = 4
_PREFETCHED = 4  # batches that are read ahead
_SMALL_BATCH = 1024  # records per batch, when only labels or ids are read


@dataclasses.dataclass(frozen=True)
class Split:
    """The transformed examples of a split.

    Attributes:
      files: its TFRecord files.
      labels: the names of the label features; the first is the label of the task.
      image_size: width and height in pixels.
      values: 0/1 uint8 [records, labels], in the order of `evaluation_batches`.
    """

    files: tuple[str, ...]
    labels: tuple[str, ...]
    image_size: int
    values: np.ndarray

    @property
    def records(self) -> int:
        """The number of records."""
        return len(self.values)

    @property
    def positives(self) -> int:
        """The number of records whose first label is 1."""
        return int(self.values[:, 0].sum())


def open_split(patterns: Sequence[str], labels: Sequence[str], image_size: int) -> Split:
    """Lists the files, and reads the labels in one pass over them.

    Raises:
      ValueError: the split has no files or no records.
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
    """A text that changes with the content of a split's files.

    It contains the end of each gzip file, which is a checksum of the uncompressed content.
    """
    parts = []
    for path in split.files:
        size = storage.stat(path).size
        with storage.open_binary(path) as file:
            file.seek(max(size - _GZIP_END_BYTES, 0))
            parts.append(f'{os.path.basename(path)} {size} {file.read().hex()}')
    return ' '.join(parts)


def steps_per_epoch(split: Split, parameters: TrainParameters) -> int:
    """Batches per epoch, with a last one that may be smaller."""
    steps = -(-_records_per_epoch(split, parameters) // parameters.batch_size)
    return min(steps, parameters.max_steps_per_epoch or steps)


def _records_per_epoch(split: Split, parameters: TrainParameters) -> int:
    if parameters.balance != 'undersample':
        return split.records
    return split.positives + min(
        split.records - split.positives, round(parameters.negatives_per_positive * split.positives)
    )


def _undersampled(split: Split, parameters: TrainParameters, seed: int) -> np.ndarray:
    """The records of an epoch with undersampling: all positives, and a sample of the negatives.

    Returns:
      bool [records].
    """
    selected = split.values[:, 0] == 1
    negatives = np.flatnonzero(~selected)
    count = _records_per_epoch(split, parameters) - split.positives
    selected[np.random.default_rng(seed).choice(negatives, count, replace=False)] = True
    return selected


def training_batches(split: Split, parameters: TrainParameters, epoch: int) -> tf.data.Dataset:
    """Shuffled, augmented batches of an epoch, the same in a resumed training.

    Returns:
      Dataset of (float32 [batch, side, side, 1], 0..255; float32 [batch, labels]).
    """
    seed = epoch + parameters.seed * 100_003 + 1
    files = tf.data.Dataset.from_tensor_slices(list(split.files))
    if parameters.balance == 'undersample':
        # In file order, as `selected` is.
        selected = tf.constant(_undersampled(split, parameters, seed))
        serialized = (
            _serialized(files)
            .enumerate()
            .filter(lambda index, _: selected[index])
            .map(lambda _, record: record)
        )
    else:
        serialized = _serialized(
            files.shuffle(len(split.files), seed=seed, reshuffle_each_iteration=False)
        )
    buffer = min(parameters.shuffle_buffer, split.records)
    # With reshuffling, the order would change each time the dataset is read.
    serialized = serialized.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
    batches = serialized.batch(parameters.batch_size).take(steps_per_epoch(split, parameters))

    def parse_and_augment(step: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, labels = _parse(batch, split)
        return augmentation.augment(
            pixels, tf.stack([tf.constant(seed, tf.int64), step]), parameters.augmentation
        ), labels

    return _read_ahead(
        batches.enumerate().map(parse_and_augment, num_parallel_calls=_CORES, deterministic=True)
    )


def evaluation_batches(split: Split, batch_size: int) -> tf.data.Dataset:
    """Each record once, in file order: (uint8 [batch, side, side, 1], float32 [batch, labels])."""
    files = tf.data.Dataset.from_tensor_slices(list(split.files))
    dataset = (
        _serialized(files)
        .batch(batch_size)
        .map(lambda batch: _parse(batch, split), num_parallel_calls=_CORES)
    )
    return _read_ahead(dataset)


def image_ids(split: Split) -> list[str]:
    """The image id of each record, in the order of `evaluation_batches`."""
    dataset = _examples(split.files, {IMAGE_ID: tf.io.FixedLenFeature([1], tf.string)})
    return [image_id.decode() for batch in dataset for image_id in batch[IMAGE_ID].numpy()[:, 0]]


def weights(split: Split) -> np.ndarray:
    """How many images each record stands for, float64 [n], in the order of `evaluation_batches`."""
    dataset = _examples(split.files, {WEIGHT: tf.io.FixedLenFeature([1], tf.float32, [1.0])})
    parts = [batch[WEIGHT].numpy()[:, 0] for batch in dataset]
    return np.concatenate(parts).astype(np.float64)


def _serialized(files: tf.data.Dataset) -> tf.data.Dataset:
    return files.interleave(
        lambda path: tf.data.TFRecordDataset(path, compression_type=_COMPRESSION),
        cycle_length=_FILES_AT_ONCE,
        num_parallel_calls=min(_FILES_AT_ONCE, _CORES),
        deterministic=True,
    )


def _examples(files: Sequence[str], spec: dict) -> tf.data.Dataset:
    """The features of `spec`, in batches and in file order."""
    serialized = _serialized(tf.data.Dataset.from_tensor_slices(list(files)))
    return _read_ahead(
        serialized.batch(_SMALL_BATCH).map(lambda batch: tf.io.parse_example(batch, spec))
    )


def _read_ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Reads ahead, without autotuning.

    Autotuning costs time at the end of epochs: sometimes (TensorFlow 2.16 and 2.21) the iterator
    waits there for the autotuning thread, which sleeps 10 ms, then 20 ms, and so on up to a minute.
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
