"""Trains on two logical CPU devices with MirroredStrategy.

This is a separate program because TensorFlow takes its devices only at start-up.

python -m tests.support.two_devices DATA FOLDER WEIGHTS
    DATA holds the splits of `synthetic_images`, FOLDER is for outputs, WEIGHTS are of MobileNetV2.
    Prints the number of devices, the epoch and the logits of the val split as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tensorflow as tf

from tests.support import synthetic_images
from trainer import input_pipeline, training
from trainer import model as model_lib
from trainer.checkpoints import TrainingState
from trainer.parameters import ModelParameters, TrainerParameters, TrainParameters
from trainer.training_history import TrainingHistory


def main(data: str, folder: str, weights: str) -> None:
    """Trains for an epoch and prints the results."""
    (cpu,) = tf.config.list_physical_devices('CPU')
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    splits = {
        name: input_pipeline.open_split(
            [f'{data}/Split-{name}/*'], [synthetic_images.LABEL], synthetic_images.SIDE
        )
        for name in ('train', 'val', 'calibration')
    }
    parameters = TrainerParameters(
        model=ModelParameters(
            backbone='mobilenet_v2', weights=weights, image_size=synthetic_images.SIDE
        ),
        train=TrainParameters(batch_size=16, epochs=1),
    )
    training.prepare(parameters)
    strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
    with strategy.scope():
        network = model_lib.build(parameters.model)
    state = TrainingState(str(Path(folder) / 'state'))
    training.train(
        network,
        splits,
        parameters,
        state,
        TrainingHistory(state.history, str(Path(folder) / 'logs')),
        strategy,
    )
    logits, _ = training.predict_logits(network.model, splits['val'], 16)
    sys.stdout.write(
        json.dumps(
            {
                'devices': strategy.num_replicas_in_sync,
                'epoch': state.epoch,
                'logits': logits.tolist(),
            }
        )
    )


if __name__ == '__main__':
    main(*sys.argv[1:])
