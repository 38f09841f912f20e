"""The reference for evaluation: predicts for every record of some files, in batches.

python -m benchmarks.inference MODEL FILE...
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import tensorflow as tf

from benchmarks.reference import without_autotune
from schemas.signatures import EXAMPLES, PROBABILITY

BATCH = 64


def one_pass(model: str, files: Sequence[str]) -> tuple[int, float]:
    """Predicts for every record, after a warm-up; returns the number of records and the seconds."""
    loaded = tf.saved_model.load(model)
    predict = loaded.signatures[EXAMPLES.name]
    records = without_autotune(tf.data.TFRecordDataset(list(files)).batch(BATCH).prefetch(2))
    for batch in records.take(1):
        predict(**{EXAMPLES.input: batch})
    start, count = time.monotonic(), 0
    for batch in records:
        count += len(predict(**{EXAMPLES.input: batch})[PROBABILITY])
    return count, time.monotonic() - start


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the seconds of a pass."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('model')
    parser.add_argument('files', nargs='+')
    args = parser.parse_args(argv)
    count, seconds = one_pass(args.model, args.files)
    print(f'predictions for {count} images in {seconds:.2f} s')


if __name__ == '__main__':
    main()
