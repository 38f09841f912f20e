"""AutoGraph stays out of what is traced, and so a network gets its graphs in seconds."""

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

# What `fit` puts around a step, for several devices; neither layers nor losses, metrics or
# optimizers.
_AROUND_A_STEP = {'tf_keras.src.engine.training', 'tf_keras.src.backend'}


def test_a_condition_on_a_tensor_is_rewritten_only_outside() -> None:
    def positive() -> list[int]:
        return [
            int(each)
            for each in tf.data.Dataset.range(-2, 2).map(
                lambda number: number if number > 0 else -number
            )
        ]

    assert positive() == [2, 1, 0, 1]
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        without_autograph(positive)()


def test_the_decorated_keeps_its_name_and_its_docstring() -> None:
    assert (model_lib.build.__name__, model_lib.build.__module__) == ('build', 'trainer.model')
    assert model_lib.build.__doc__ is not None and model_lib.build.__doc__.startswith(
        'Builds the network'
    )


def test_from_the_network_to_the_export_no_layer_is_rewritten(
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
    assert 'train_function' in {name for _, name in rewritten}, (
        'the look at what is rewritten sees nothing'
    )
    assert {module for module, _ in rewritten if module.startswith('tf_keras')} <= _AROUND_A_STEP, (
        rewritten
    )
