"""The reference: decodes and resizes every image once, on all cores of this process.

python -m benchmarks.reference DATA_ROOT
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import tensorflow as tf

from records.data_root import find_files
from records.parallel import default_workers
from schemas.features import IMAGE

SIZE = 224


def one_pass(files: Sequence[str]) -> tuple[int, float]:
    """Decodes each JPEG of the files and resizes it to SIZE, with antialiasing.

    Returns:
      The number of images and the seconds.
    """

    def decode(record: tf.Tensor) -> tf.Tensor:
        image = tf.io.parse_single_example(record, {IMAGE: tf.io.FixedLenFeature([], tf.string)})[
            IMAGE
        ]
        return tf.image.resize(tf.io.decode_jpeg(image, channels=1), [SIZE, SIZE], antialias=True)

    images = (
        tf.data.TFRecordDataset(list(files))
        .map(decode, num_parallel_calls=default_workers())
        .prefetch(16)
    )
    images = without_autotune(images)
    start = time.monotonic()
    count = int(images.reduce(tf.constant(0, tf.int64), lambda number, _: number + 1))
    return count, time.monotonic() - start


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without autotuning, whose thread can delay the end of an iteration."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the seconds of a pass."""
    # Not on import: other modules that use this one may need a GPU.
    os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data_root')
    root = parser.parse_args(argv).data_root
    count, seconds = one_pass([os.path.join(root, file.name) for file in find_files(root)])
    print(f'{count} images decoded and resized in {seconds:.2f} s')


if __name__ == '__main__':
    main()
