"""Runs models in the Evaluator as TF Serving does.

TFX imports this module by name and calls `custom_eval_shared_model` and `custom_extractors`. TFMA
would load the model eagerly, and first call its signature in a form that TensorFlow rejects, with
the bytes of all images of the batch in the message. A session takes little more than half the time
per image, and the Evaluator measures what will be served.
"""

from __future__ import annotations

import collections
import logging
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.api import types

from components.evaluator.prediction_writer import custom_extractors
from components.serving_check.session_model import SessionModel
from schemas import image_status
from schemas.signatures import STATUS

__all__ = ['ServedModel', 'custom_eval_shared_model', 'custom_extractors']
_LOGGER = logging.getLogger(__name__)

# Beam's batches can grow to a thousand images; MobileNetV2 then takes more than twice as long per
# image as in batches of 64.
_BATCH_SIZE = 64


class ServedModel:
    """A SavedModel in a session, with the interface that TFMA uses: `signatures[name](values)`."""

    def __init__(self, path: str) -> None:
        model = SessionModel(path)
        self.signatures = {name: _Signature(model, name) for name in model.signatures}


class _Signature:
    """A signature with one input, string [batch]; a call returns a tensor for each output."""

    def __init__(self, model: SessionModel, name: str) -> None:
        (self._input,) = model.signatures[name].inputs
        self._model, self._name = model, name
        self.structured_input_signature = (
            (),
            {self._input: tf.TensorSpec([None], tf.string, name=self._input)},
        )

    def __call__(self, values: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = values.numpy()
        if not len(inputs):
            return self._empty_outputs()
        parts = [
            self._model.run(self._name, {self._input: inputs[start : start + _BATCH_SIZE]})
            for start in range(0, len(inputs), _BATCH_SIZE)
        ]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        _warn_of_images_not_assessed(outputs.get(STATUS, np.array([], object)))
        return {name: tf.constant(output) for name, output in outputs.items()}

    def _empty_outputs(self) -> dict[str, tf.Tensor]:
        """The outputs for an empty batch, which the model rejects."""
        outputs = self._model.signatures[self._name].outputs
        shapes = {
            name: [max(dim.size, 0) for dim in output.tensor_shape.dim]
            for name, output in outputs.items()
        }
        return {
            name: tf.zeros([0, *shapes[name][1:]], output.dtype) for name, output in outputs.items()
        }


def _warn_of_images_not_assessed(statuses: np.ndarray) -> None:
    counts = collections.Counter(name.decode() for name in statuses.tolist())
    del counts[image_status.OK]
    if counts:
        kinds = ', '.join(f'{count} {name}' for name, count in sorted(counts.items()))
        _LOGGER.warning(
            '%d of %d images are not assessed (%s). The model flags them, and they count as '
            'flagged; `cxr-triage check --pixels` lists them.',
            counts.total(),
            len(statuses),
            kinds,
        )


def custom_eval_shared_model(eval_saved_model_path: str, **settings: Any) -> types.EvalSharedModel:
    """Like `tfma.default_eval_shared_model`, with the model in a session.

    Args:
      eval_saved_model_path: the folder of the SavedModel.
      settings: of TFX's Evaluator: model_name, eval_config, add_metrics_callbacks.
    """
    loader = types.ModelLoader(
        partial(ServedModel, eval_saved_model_path), tags=[tf.saved_model.SERVING]
    )
    return tfma.default_eval_shared_model(
        eval_saved_model_path, custom_model_loader=loader, **settings
    )
