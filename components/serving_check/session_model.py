"""Loads and runs a SavedModel as TF Serving does, with TensorFlow's session loader.

The eager loader (`tf.saved_model.load`) rebuilds Python objects, and accepts exports that TF
Serving rejects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from schemas import signatures
from schemas.labels import FINDINGS

# Of outputs that are not one number or text for each image.
_SHAPES = {
    signatures.HEAT_MAP: '[batch, height, width]',
    signatures.EMBEDDING: f'[batch, {signatures.EMBEDDING_SIZE}]',
}


class BrokenPromiseError(ValueError):
    """The outputs of a signature do not have the promised shape."""


@dataclass(frozen=True)
class Scores:
    """The outputs of a scoring signature for a batch.

    Attributes:
      probability: float32 [batch], 0..1.
      flag: float32 [batch], 0 or 1.
      status: bytes [batch], names of `schemas.image_status`.
      model_version: bytes [batch].
    """

    probability: np.ndarray
    flag: np.ndarray
    status: np.ndarray
    model_version: np.ndarray

    def part(self, positions: slice) -> Scores:
        """The outputs for a part of the batch."""
        return Scores(
            self.probability[positions],
            self.flag[positions],
            self.status[positions],
            self.model_version[positions],
        )


class SessionModel:
    """A loaded model.

    Args:
      path: the folder of the SavedModel.

    Raises:
      tf.errors.OpError, OSError, RuntimeError: the loader cannot load it.
    """

    def __init__(self, path: str) -> None:
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], path)
        self.signatures = {
            name: definition
            for name, definition in meta.signature_def.items()
            if not name.startswith('__')
        }

    def run(self, signature: str, inputs: Mapping[str, Sequence[bytes]]) -> dict[str, np.ndarray]:
        """Runs one `Predict` request.

        Args:
          signature: its name.
          inputs: name -> [batch], serialized examples or encoded images.

        Returns:
          Output name -> array [batch, ...] of the output's dtype.

        Raises:
          KeyError: the model has no such signature.
          tf.errors.OpError: TF Serving would answer with an error.
        """
        definition = self.signatures[signature]
        feed = {
            definition.inputs[name].name: np.array(values, dtype=object)
            for name, values in inputs.items()
        }
        return self._session.run(
            {name: tensor.name for name, tensor in definition.outputs.items()}, feed
        )

    def score(self, signature: signatures.Signature, values: Sequence[bytes]) -> Scores:
        """Runs a scoring signature on a batch of examples or encoded images.

        Raises:
          BrokenPromiseError: an output does not have the shape [batch].
        """
        answers = self.run(signature.name, {signature.input: values})
        for name in signatures.SCORES:
            if answers[name].shape != (len(values),):
                shape = list(answers[name].shape)
                raise BrokenPromiseError(
                    f'{signature.name}: {name} has shape {shape} for {len(values)} inputs: '
                    f'expected [{len(values)}]'
                )
        return Scores(**{name: answers[name] for name in signatures.SCORES})

    def broken_promises(self, signature: signatures.Signature) -> list[str]:
        """One sentence for each declared input or output that differs from the promised ones."""
        definition = self.signatures.get(signature.name)
        if definition is None:
            return [
                f'signature {signature.name!r} is missing; the model has: '
                f'{", ".join(sorted(self.signatures)) or "none"}'
            ]
        problems = []
        if set(definition.inputs) != {signature.input}:
            problems.append(
                f'{signature.name}: inputs are {sorted(definition.inputs)}: expected '
                f'[{signature.input!r}]'
            )
        else:
            problems += _unlike(
                signature, signature.input, definition.inputs[signature.input], 'string'
            )
        if signature.outputs is None:
            return problems
        outputs = set(definition.outputs) - set(FINDINGS)
        if outputs != set(signature.outputs):
            return [
                *problems,
                f'{signature.name}: outputs are {sorted(outputs)}: expected '
                f'{sorted(signature.outputs)}',
            ]
        for name in definition.outputs:
            problems += _unlike(
                signature,
                name,
                definition.outputs[name],
                signature.outputs.get(name, 'float32'),
                _SHAPES.get(name, '[batch]'),
            )
        return problems


def _unlike(
    signature: signatures.Signature, name: str, tensor, dtype: str, shape: str = '[batch]'
) -> list[str]:
    actual = tf.dtypes.as_dtype(tensor.dtype).name
    problems = (
        [] if actual == dtype else [f'{signature.name}: {name} is {actual}: expected {dtype}']
    )
    sizes = (
        None if tensor.tensor_shape.unknown_rank else [dim.size for dim in tensor.tensor_shape.dim]
    )
    if not sizes or len(sizes) != len(shape.split(',')) or sizes[0] != -1:
        problems.append(
            f'{signature.name}: {name} has shape {sizes or "unknown"}: expected {shape} with any '
            'batch'
        )
    return problems
