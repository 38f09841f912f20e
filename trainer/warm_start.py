"""Starts a training from the weights of the served model, instead of ImageNet's."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import storage
from trainer import training
from trainer.artifacts import MODEL_INFO_FILE
from trainer.parameters import ModelParameters, TrainParameters
from trainer.tasks import TASKS

_REMEDY = 'Change these settings, or set train.warm_start to none'
# As `TriageModule` saves the variables of its network.
_VARIABLE = '_variables/{}/.ATTRIBUTES/VARIABLE_VALUE'


class WarmStartError(ValueError):
    """A training cannot start from a model; the text says what differs."""


@dataclasses.dataclass(frozen=True)
class Start:
    """The weights that a training starts from.

    Attributes:
      model_version: the version that the model itself answers with.
      digest: of the weights.
      weights: the variables of `Network.model`, in their order.
    """

    model_version: str
    digest: str
    weights: tuple[np.ndarray, ...]

    def apply(self, model: keras.Model) -> None:
        """Assigns the weights to a network of the same architecture.

        Raises:
          WarmStartError: the shapes of the weights differ.
        """
        expected = [tuple(variable.shape) for variable in model.variables]
        actual = [weight.shape for weight in self.weights]
        if expected != actual:
            pairs = itertools.zip_longest(expected, actual)
            number, (here, there) = next(
                (index, pair) for index, pair in enumerate(pairs) if pair[0] != pair[1]
            )
            raise WarmStartError(
                f'the network of model {self.model_version} is another one: its weights number '
                f'{number} have the shape {there}, those of this code {here}. Set '
                'train.warm_start to none'
            )
        for variable, weight in zip(model.variables, self.weights, strict=True):
            variable.assign(weight)


def check(directory: str, model: ModelParameters, labels: Sequence[str]) -> dict[str, Any]:
    """Checks that a training can start from an exported model; does not read its weights.

    Args:
      directory: the exported model.
      model: the network to train.
      labels: the label of each of its logits.

    Returns:
      What the Trainer wrote about the model.

    Raises:
      WarmStartError: it cannot; the text names each difference.
    """
    path = storage.join(directory, MODEL_INFO_FILE)
    if not storage.exists(path):
        raise WarmStartError(
            f'{path} is missing: a training can only start from a model that this pipeline made. '
            'Set train.warm_start to none'
        )
    info = json.loads(storage.read_text(path))
    if differences := [*_differences(info, model, labels)]:
        raise WarmStartError(
            f'a training cannot start from model {info["model_version"]} in {directory}: '
            f'{"; ".join(differences)}. {_REMEDY}'
        )
    return info


def load(directory: str, model: ModelParameters, labels: Sequence[str]) -> Start:
    """Reads the weights of an exported model, with the checks of `check`.

    Raises:
      WarmStartError: the model does not fit, or its weights cannot be read.
    """
    info = check(directory, model, labels)
    try:
        reader = tf.train.load_checkpoint(storage.join(directory, 'variables', 'variables'))
    except (tf.errors.OpError, ValueError) as error:
        raise WarmStartError(
            f'the weights in {directory} cannot be read ({str(error).splitlines()[0]})'
        ) from error
    names = set(reader.get_variable_to_shape_map())
    weights: list[np.ndarray] = []
    while (name := _VARIABLE.format(len(weights))) in names:
        weights.append(reader.get_tensor(name))
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(weight.tobytes())
    return Start(info['model_version'], digest.hexdigest()[:16], tuple(weights))


def _differences(
    info: dict[str, Any], model: ModelParameters, labels: Sequence[str]
) -> Iterator[str]:
    before = info['parameters']['model']
    for name in ('backbone', 'image_size', 'pooling'):
        there, here = before.get(name), getattr(model, name)
        if there != here:
            yield f'model.{name} is {there} there and {here} here'
    auxiliary = float(info['parameters']['train'].get('auxiliary_weight', 0.0))
    there = training.targets(
        TASKS[info['task']], TrainParameters(auxiliary_weight=auxiliary)
    ).labels
    if there != tuple(labels):
        yield f'it has learnt {_names(there)}, and this training learns {_names(labels)}'


def _names(labels: Sequence[str]) -> str:
    return ', '.join(labels)
