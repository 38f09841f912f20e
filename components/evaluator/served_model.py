"""The model in the Evaluator as TF Serving runs it: TFX finds this module by name and asks it for
`custom_eval_shared_model`.

TFMA would load the model eagerly and call its signature in a form that TensorFlow refuses at first,
with the bytes of all films of the batch spelled out in the refusal. In a session the model takes
little more than half the time for a film, and what is measured is what will be served.
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

from components.serving_check.session_model import SessionModel
from schemas import image_status
from schemas.signatures import STATUS

_LOGGER = logging.getLogger(__name__)

# Beam's batches can grow to a thousand films, each of which then takes MobileNetV2 more than twice
# as long as one of 64 does.
_FILMS_AT_ONCE = 64


class ServedModel:
    """A SavedModel in a session, in the form in which TFMA calls models:
    `signatures[name](values)`.
    """

    def __init__(self, path: str) -> None:
        model = SessionModel(path)
        self.signatures = {name: _Signature(model, name) for name in model.signatures}


class _Signature:
    """One signature with one input, string [batch]; answers with a tensor for each output."""

    def __init__(self, model: SessionModel, name: str) -> None:
        (self._input,) = model.signatures[name].inputs
        self._model, self._name = model, name
        self.structured_input_signature = (
            (),
            {self._input: tf.TensorSpec([None], tf.string, name=self._input)},
        )

    def __call__(self, values: tf.Tensor) -> dict[str, tf.Tensor]:
        films = values.numpy()
        if not len(films):
            return self._no_answers()
        parts = [
            self._model.run(self._name, {self._input: films[start : start + _FILMS_AT_ONCE]})
            for start in range(0, len(films), _FILMS_AT_ONCE)
        ]
        answers = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        _warn_of_films_not_assessed(answers.get(STATUS, np.array([], object)))
        return {name: tf.constant(answer) for name, answer in answers.items()}

    def _no_answers(self) -> dict[str, tf.Tensor]:
        """For a batch without films, which the model refuses."""
        outputs = self._model.signatures[self._name].outputs
        shapes = {
            name: [max(dim.size, 0) for dim in output.tensor_shape.dim]
            for name, output in outputs.items()
        }
        return {
            name: tf.zeros([0, *shapes[name][1:]], output.dtype) for name, output in outputs.items()
        }


def _warn_of_films_not_assessed(statuses: np.ndarray) -> None:
    counts = collections.Counter(name.decode() for name in statuses.tolist())
    del counts[image_status.OK]
    if counts:
        kinds = ', '.join(f'{count} {name}' for name, count in sorted(counts.items()))
        _LOGGER.warning(
            '%d of %d films are not assessed (%s). The model flags them, and so they count here: '
            '`cxr-triage check --pixels` names them.',
            counts.total(),
            len(statuses),
            kinds,
        )


def custom_eval_shared_model(eval_saved_model_path: str, **settings: Any) -> types.EvalSharedModel:
    """As `tfma.default_eval_shared_model`, with the model in a session.

    Args:
      eval_saved_model_path: the SavedModel.
      settings: what TFX's Evaluator hands on: model_name, eval_config, add_metrics_callbacks.
    """
    loader = types.ModelLoader(
        partial(ServedModel, eval_saved_model_path), tags=[tf.saved_model.SERVING]
    )
    return tfma.default_eval_shared_model(
        eval_saved_model_path, custom_model_loader=loader, **settings
    )
