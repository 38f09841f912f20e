"""AutoGraph does not rewrite the network, which makes tracing fast."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.python.autograph.impl import api

from tests.support import synthetic_images
from trainer import calibration, training
from trainer import model as model_lib
from trainer.checkpoints import TrainingState
from trainer.input_pipeline import Split
from trainer.parameters import ModelParameters, TrainerParameters, TrainParameters
from trainer.signatures import TriageModule
from trainer.tracing import without_autograph
from trainer.training_history import TrainingHistory

# The modules of the code that `fit` puts around a step, without layers, losses, metrics and
# optimizers.
_FIT_MODULES = {'tf_keras.src.engine.training', 'tf_keras.src.backend'}


def test_the_decorator_prevents_rewriting_of_conditions() -> None:
    def absolute_values() -> list[int]:
        return [
            int(value)
            for value in tf.data.Dataset.range(-2, 2).map(
                lambda number: number if number > 0 else -number
            )
        ]

    assert absolute_values() == [2, 1, 0, 1]
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        without_autograph(absolute_values)()


def test_a_decorated_function_keeps_its_name_and_docstring() -> None:
    assert (model_lib.build.__name__, model_lib.build.__module__) == ('build', 'trainer.model')
    assert model_lib.build.__doc__ is not None and model_lib.build.__doc__.startswith(
        'Builds the network'
    )


def test_no_layer_is_rewritten_in_training_and_export(
    splits: dict[str, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewritten = set()
    convert = api._convert_actual

    def record_rewrite(entity: object, *arguments: object) -> object:
        rewritten.add((getattr(entity, '__module__', ''), getattr(entity, '__name__', '')))
        return convert(entity, *arguments)

    monkeypatch.setattr(api, '_convert_actual', record_rewrite)
    parameters = TrainerParameters(
        model=ModelParameters(backbone='scratch_cnn', image_size=synthetic_images.SIDE),
        train=TrainParameters(batch_size=16, epochs=1),
    )
    strategy = training.prepare(parameters)
    network = model_lib.build(parameters.model)
    state = TrainingState(str(tmp_path / 'state'))
    training.train(
        network,
        splits,
        parameters,
        state,
        TrainingHistory(state.history, str(tmp_path / 'logs')),
        strategy,
    )
    TriageModule(network, synthetic_images.SIDE, [calibration.NONE], 0.5, 'p-1').export(
        str(tmp_path / 'model')
    )
    assert 'train_function' in {name for _, name in rewritten}, 'the test must record rewrites'
    assert {module for module, _ in rewritten if module.startswith('tf_keras')} <= _FIT_MODULES, (
        rewritten
    )
