"""What training costs beside its arithmetic: reading examples against decoding alone, a step
against a bare Keras fit.

    python -m benchmarks.training ROOT [--backbone mobilenet_v2] [--batch-size 32]

ROOT is that of a run, e.g. runs/benchmarks/run-16000. Printed, each as the median of rounds that
take turns:
- images/s of the trainer's input pipeline, from Transform's files to batches, with and without
  augmentation, over a loop that does nothing but tf.io.decode_png on bytes that are in memory, on
  as many cores;
- seconds a step of the trainer's own fit, input pipeline and augmentation included, over
  `keras.Model.fit` of the same network on arrays that are in memory. On a GPU both run in mixed
  precision, and the second is the step time alone.
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
    """Measures and prints; the figures are also in training.json beside ROOT."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='root of a run with 224 x 224 images')
    parser.add_argument('--backbone', choices=get_args(Backbone), default='mobilenet_v2')
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--images', type=int, default=16_384, help='for the input pipeline')
    parser.add_argument('--steps', type=int, default=20, help='for the step')
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args(argv)
    examples = finished_run.newest(args.root, 'Transform/transformed_examples')
    split = input_pipeline.open_split(
        [str(examples / 'Split-train' / '*')], [LABEL], random_weights.SIDE
    )
    figures = {'backbone': args.backbone, 'batch_size': args.batch_size, 'device': _device()}
    figures['input'] = _in_turn(reading(split, args.batch_size, args.images), args.rounds)
    figures['step'] = _in_turn(
        stepping(split, args.backbone, args.batch_size, args.steps), args.rounds
    )
    (args.root.parent / 'training.json').write_text(json.dumps(figures, indent=1))
    Console().print(table(figures))


def reading(split: Split, batch_size: int, images: int) -> dict[str, Callable[[], float]]:
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

    def rate(dataset: tf.data.Dataset, images_an_element: int) -> float:
        start = time.monotonic()
        elements = int(dataset.reduce(tf.constant(0, tf.int64), lambda number, *_: number + 1))
        return elements * images_an_element / (time.monotonic() - start)

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


def stepping(
    split: Split, backbone: Backbone, batch_size: int, steps: int
) -> dict[str, Callable[[], float]]:
    """Name -> a measurement of seconds a step, of the trainer's fit and of a bare one; the same
    network, as phase 2 trains it.
    """
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
        return clock.seconds_a_step()

    measured = {
        'bare fit on arrays': lambda: step(pixels, labels, batch_size=batch_size),
        "the trainer's": lambda: step(input_pipeline.training_batches(split, train, 0)),
    }
    for function in measured.values():
        function()  # traces the graph
    return measured


def table(figures: dict) -> Table:
    """The medians, and each over the first."""
    result_table = Table(
        box=None,
        pad_edge=False,
        title=f'{figures["backbone"]}, batches of {figures["batch_size"]}, {figures["device"]}',
    )
    for name in ('', 'median', 'over the first'):
        result_table.add_column(name, justify='left' if not name else 'right')
    for key, form in (('input', '{:,.0f} images/s'), ('step', '{:.4f} s a step')):
        first = next(iter(figures[key].values()))
        for name, value in figures[key].items():
            result_table.add_row(name, form.format(value), f'{value / first:.2f}')
        result_table.add_section()
    fastest, trained = (
        figures['input']['decode_png alone'],
        figures['batch_size'] / figures['step']["the trainer's"],
    )
    result_table.add_row('trained', f'{trained:,.0f} images/s', f'{trained / fastest:.3f}')
    return result_table


class _Clock(keras.callbacks.Callback):
    """The time from the end of the first step to that of the last."""

    def __init__(self) -> None:
        super().__init__()
        self._ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Notes the time."""
        self._ends.append(time.monotonic())

    def seconds_a_step(self) -> float:
        """Of all steps but the first."""
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)


def _stored(split: Split, batch_size: int) -> tf.data.Dataset:
    """Batches of the PNG bytes."""
    spec = {transformed(IMAGE): tf.io.FixedLenFeature([], tf.string)}
    records = tf.data.TFRecordDataset(list(split.files), 'GZIP').batch(batch_size)
    return records.map(lambda batch: tf.io.parse_example(batch, spec)[transformed(IMAGE)])


def _in_turn(measured: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Medians of measurements that take turns, so that all see the same changes of the machine."""
    values = [{name: measure() for name, measure in measured.items()} for _ in range(rounds)]
    return {name: statistics.median(value[name] for value in values) for name in measured}


def _device() -> str:
    gpus = tf.config.list_physical_devices('GPU')
    return f'{len(gpus)} GPU' if gpus else f'{default_workers()} cores'


if __name__ == '__main__':
    main()
