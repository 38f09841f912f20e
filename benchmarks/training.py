"""Measures the overhead of training: reading compared with decoding, steps with a bare Keras fit.

    python -m benchmarks.training ROOT [--backbone mobilenet_v2] [--batch-size 32]

ROOT is the root of a run, such as runs/benchmarks/run-16000. The measurements take turns, and the
figures are medians of several rounds:
- images/s of the trainer's input pipeline from Transform's files to batches, with and without
  augmentation, compared with a loop of tf.io.decode_png on bytes in memory, on as many cores;
- seconds per step of the trainer's fit with input pipeline and augmentation, compared with
  `keras.Model.fit` of the same network on arrays in memory. On a GPU, both use mixed precision.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import tensorflow as tf
import tf_keras as keras
from rich.console import Console
from rich.table import Table

from benchmarks import finished_run, random_weights
from benchmarks.reference import without_autotune
from records.parallel import default_workers
from schemas.features import IMAGE, transformed
from trainer import input_pipeline, training
from trainer import model as model_lib
from trainer.augmentation import NOTHING
from trainer.input_pipeline import Split
from trainer.parameters import PRETRAINED, Backbone, TrainerParameters, TrainParameters

LABEL = 'abnormal'


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to training.json beside ROOT."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='root of a run with 224 x 224 images')
    parser.add_argument('--backbone', choices=get_args(Backbone), default='mobilenet_v2')
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--images', type=int, default=16_384, help='images for the input pipeline')
    parser.add_argument('--steps', type=int, default=20, help='steps for the step time')
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args(argv)
    examples = finished_run.newest(args.root, 'Transform/transformed_examples')
    split = input_pipeline.open_split(
        [str(examples / 'Split-train' / '*')], [LABEL], random_weights.SIDE
    )
    figures = {'backbone': args.backbone, 'batch_size': args.batch_size, 'device': _device()}
    figures['input'] = _medians(
        input_measurements(split, args.batch_size, args.images), args.rounds
    )
    figures['step'] = _medians(
        step_measurements(split, args.backbone, args.batch_size, args.steps), args.rounds
    )
    (args.root.parent / 'training.json').write_text(json.dumps(figures, indent=1))
    Console().print(table(figures))


def input_measurements(
    split: Split, batch_size: int, images: int
) -> dict[str, Callable[[], float]]:
    """Name -> a measurement of images/s, on the first `images` of a split."""
    steps = min(images, split.records) // batch_size
    parameters = TrainParameters(batch_size=batch_size, max_steps_per_epoch=steps)
    plain = parameters.model_copy(update={'augmentation': NOTHING})
    stored = [
        record for batch in _stored(split, batch_size).take(steps) for record in batch.numpy()
    ]
    in_memory = tf.data.Dataset.from_tensor_slices(stored)
    decoded = in_memory.map(
        lambda data: tf.io.decode_png(data, channels=1), num_parallel_calls=default_workers()
    ).prefetch(16)

    def rate(dataset: tf.data.Dataset, images_per_element: int) -> float:
        start = time.monotonic()
        elements = int(dataset.reduce(tf.constant(0, tf.int64), lambda number, *_: number + 1))
        return elements * images_per_element / (time.monotonic() - start)

    return {
        'decode_png alone': lambda: rate(without_autotune(decoded), 1),
        'evaluation batches': lambda: rate(
            input_pipeline.evaluation_batches(split, batch_size).take(steps), batch_size
        ),
        'training batches, no augmentation': lambda: rate(
            input_pipeline.training_batches(split, plain, 0), batch_size
        ),
        'training batches': lambda: rate(
            input_pipeline.training_batches(split, parameters, 0), batch_size
        ),
    }


def step_measurements(
    split: Split, backbone: Backbone, batch_size: int, steps: int
) -> dict[str, Callable[[], float]]:
    """Name -> a measurement of seconds per step in phase 2, with the trainer's and a bare fit."""
    train = TrainParameters(batch_size=batch_size, max_steps_per_epoch=steps, deterministic=False)
    strategy = training.prepare(TrainerParameters(train=train))
    with strategy.scope():
        network = random_weights.network(backbone)
    model = network.model
    with strategy.scope():
        if backbone in PRETRAINED:
            model_lib.unfreeze(network, train.unfreeze_share)
        model.compile(
            keras.optimizers.Adam(train.learning_rate),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[keras.metrics.AUC(name='auc', from_logits=True, num_thresholds=1000)],
        )
    batches = [
        (pixels.numpy(), labels.numpy())
        for pixels, labels in input_pipeline.training_batches(split, train, 0)
    ]
    pixels, labels = (np.concatenate(column) for column in zip(*batches, strict=True))

    def step(*data: object, **options: object) -> float:
        clock = _Clock()
        model.fit(*data, **options, verbose=0, callbacks=[clock])
        return clock.seconds_per_step()

    measurements = {
        'bare fit on arrays': lambda: step(pixels, labels, batch_size=batch_size),
        "the trainer's": lambda: step(input_pipeline.training_batches(split, train, 0)),
    }
    for function in measurements.values():
        function()  # traces the graph
    return measurements


def table(figures: dict) -> Table:
    """A table of the medians, and of their ratios to the first one."""
    result = Table(
        box=None,
        pad_edge=False,
        title=f'{figures["backbone"]}, batches of {figures["batch_size"]}, {figures["device"]}',
    )
    for name in ('', 'median', 'over the first'):
        result.add_column(name, justify='left' if not name else 'right')
    for key, value_format in (('input', '{:,.0f} images/s'), ('step', '{:.4f} s per step')):
        first = next(iter(figures[key].values()))
        for name, value in figures[key].items():
            result.add_row(name, value_format.format(value), f'{value / first:.2f}')
        result.add_section()
    decode_rate = figures['input']['decode_png alone']
    training_rate = figures['batch_size'] / figures['step']["the trainer's"]
    ratio = f'{training_rate / decode_rate:.3f}'
    result.add_row('trained', f'{training_rate:,.0f} images/s', ratio)
    return result


class _Clock(keras.callbacks.Callback):
    """Measures the time from the end of the first step to the end of the last."""

    def __init__(self) -> None:
        super().__init__()
        self._ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stores the time."""
        self._ends.append(time.monotonic())

    def seconds_per_step(self) -> float:
        """The mean of all steps except the first."""
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)


def _stored(split: Split, batch_size: int) -> tf.data.Dataset:
    """Batches of PNG bytes."""
    spec = {transformed(IMAGE): tf.io.FixedLenFeature([], tf.string)}
    records = tf.data.TFRecordDataset(list(split.files), 'GZIP').batch(batch_size)
    return records.map(lambda batch: tf.io.parse_example(batch, spec)[transformed(IMAGE)])


def _medians(measurements: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Medians of measurements that take turns, so that changes of the machine affect all alike."""
    values = [{name: measure() for name, measure in measurements.items()} for _ in range(rounds)]
    return {name: statistics.median(value[name] for value in values) for name in measurements}


def _device() -> str:
    gpus = tf.config.list_physical_devices('GPU')
    return f'{len(gpus)} GPU' if gpus else f'{default_workers()} cores'


if __name__ == '__main__':
    main()
