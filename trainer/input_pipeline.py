"""Transformed examples to batches of pixels and labels, in an order that depends on seed and epoch alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from trainer import augmentation
from trainer.features import IMAGE, IMAGE_ID, transformed
from trainer.parameters import TrainParameters
from trainer.preprocessing import decode_stored

_COMPRESSION = 'GZIP'  # what TFX's Transform writes


@dataclasses.dataclass(frozen=True)
class Split:
    """The transformed examples of a split.

    Attributes:
      files: its TFRecord files.
      label: the name of the label feature.
      image_size: pixels a side.
      records: how many there are.
      positives: how many have label 1.
    """

    files: tuple[str, ...]
    label: str
    image_size: int
    records: int
    positives: int


def open_split(patterns: Sequence[str], label: str, image_size: int) -> Split:
    """Lists the files and counts records and positives, one pass over the labels.

    Raises:
      ValueError: the split has no files or holds no records.
    """
    files = tuple(sorted(name for pattern in patterns for name in tf.io.gfile.glob(pattern)))
    if not files:
        raise ValueError(f'no files of transformed examples in {", ".join(patterns) or "no directory at all"}')
    dataset = _examples(tf.data.Dataset.from_tensor_slices(list(files)), {label: tf.io.FixedLenFeature([1], tf.int64)}, batch=1024)
    records = positives = 0
    for example in dataset:
        records += int(example[label].shape[0])
        positives += int(tf.reduce_sum(example[label]))
    if not records:
        raise ValueError(f'no transformed examples in {", ".join(patterns)}')
    return Split(files, label, image_size, records, positives)


def steps_per_epoch(split: Split, parameters: TrainParameters) -> int:
    """Batches an epoch, the last one maybe smaller than the others."""
    steps = -(-split.records // parameters.batch_size)
    return min(steps, parameters.max_steps_per_epoch or steps)


def training_batches(split: Split, parameters: TrainParameters, epoch: int) -> tf.data.Dataset:
    """Shuffled, augmented batches of one epoch; epoch k is the same however training came to it.

    Returns:
      Dataset of (float32 [batch, side, side, 1], 0..255; float32 [batch, 1]).
    """
    seed = epoch + parameters.seed * 100_003 + 1
    files = tf.data.Dataset.from_tensor_slices(list(split.files)).shuffle(len(split.files), seed=seed, reshuffle_each_iteration=False)
    buffer = min(parameters.shuffle_buffer, split.records)
    # Reshuffled, the dataset would give another order each time it is read, and not that of its epoch.
    serialized = _serialized(files).shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
    batches = serialized.batch(parameters.batch_size).take(steps_per_epoch(split, parameters))

    def augmented(step: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, labels = _parse(batch, split)
        return augmentation.augment(pixels, tf.stack([tf.constant(seed, tf.int64), step]), parameters.augmentation), labels

    return batches.enumerate().map(augmented, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(split: Split, batch_size: int) -> tf.data.Dataset:
    """Each record once, in file order: (uint8 [batch, side, side, 1], float32 [batch, 1])."""
    files = tf.data.Dataset.from_tensor_slices(list(split.files))
    dataset = _serialized(files).batch(batch_size).map(lambda batch: _parse(batch, split), num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def image_ids(split: Split) -> list[str]:
    """The image id of each record, in the order of `evaluation_batches`."""
    dataset = _examples(
        tf.data.Dataset.from_tensor_slices(list(split.files)), {IMAGE_ID: tf.io.FixedLenFeature([1], tf.string)}, batch=1024
    )
    return [name.decode() for example in dataset for name in example[IMAGE_ID].numpy()[:, 0]]


def _serialized(files: tf.data.Dataset) -> tf.data.Dataset:
    return files.interleave(
        lambda name: tf.data.TFRecordDataset(name, compression_type=_COMPRESSION),
        cycle_length=4,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _examples(files: tf.data.Dataset, spec: dict, batch: int) -> tf.data.Dataset:
    return _serialized(files).batch(batch).map(lambda serialized: tf.io.parse_example(serialized, spec))


def _parse(serialized: tf.Tensor, split: Split) -> tuple[tf.Tensor, tf.Tensor]:
    name = transformed(IMAGE)
    spec = {name: tf.io.FixedLenFeature([], tf.string), split.label: tf.io.FixedLenFeature([1], tf.int64)}
    example = tf.io.parse_example(serialized, spec)
    return decode_stored(example[name], split.image_size), tf.cast(example[split.label], tf.float32)
