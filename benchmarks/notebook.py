"""A peer: a tf.data pipeline as in notebooks, which decodes all images again in every epoch.

    python -m benchmarks.notebook DATA_ROOT ROOT

It is compared with the trainer, which reads the examples that Transform wrote to ROOT. Both run
without augmentation.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import tensorflow as tf

from benchmarks import finished_run
from benchmarks.reference import SIZE
from records.data_root import find_files
from schemas.features import IMAGE
from schemas.labels import ABNORMAL, NO_FINDING
from trainer import input_pipeline
from trainer.augmentation import NOTHING
from trainer.parameters import TrainParameters

BATCH = 32
_SHUFFLE_BUFFER = 1024


def epoch(files: Sequence[str]) -> tuple[int, float]:
    """Reads the shuffled batches once; returns the number of images and the seconds."""
    spec = {
        IMAGE: tf.io.FixedLenFeature([], tf.string),
        NO_FINDING: tf.io.FixedLenFeature([], tf.int64),
    }

    def read(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_single_example(record, spec)
        pixels = tf.image.resize(tf.io.decode_jpeg(example[IMAGE], channels=1), [SIZE, SIZE])
        return pixels / 255.0, 1 - example[NO_FINDING]

    images = tf.data.TFRecordDataset(list(files), num_parallel_reads=tf.data.AUTOTUNE).map(
        read, num_parallel_calls=tf.data.AUTOTUNE
    )
    return _timed(images.shuffle(_SHUFFLE_BUFFER).batch(BATCH).prefetch(tf.data.AUTOTUNE))


def materialised_epoch(root: Path) -> tuple[int, float]:
    """Does the same with Transform's examples of a run."""
    folder = finished_run.newest(root, 'Transform/transformed_examples') / 'Split-train'
    split = input_pipeline.open_split([str(folder / '*')], [ABNORMAL], SIZE)
    parameters = TrainParameters(batch_size=BATCH, augmentation=NOTHING)
    return _timed(input_pipeline.training_batches(split, parameters, 0))


def _timed(batches: tf.data.Dataset) -> tuple[int, float]:
    count, start, end = 0, time.monotonic(), math.nan
    for images, _ in batches:
        count += int(images.shape[0])
        # Only the last batch counts: the end of tf.data's iteration is not reading.
        end = time.monotonic()
    return count, end - start


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the images per second of both as JSON."""
    # Not on import: other modules that use this one may need a GPU.
    os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data_root')
    parser.add_argument('root', type=Path)
    args = parser.parse_args(argv)
    files = [os.path.join(args.data_root, file.name) for file in find_files(args.data_root)]
    rates = {}
    for name, (count, seconds) in (
        ('notebook', epoch(files)),
        ('materialised', materialised_epoch(args.root)),
    ):
        rates[name] = count / seconds
    print(json.dumps(rates))


if __name__ == '__main__':
    main()
