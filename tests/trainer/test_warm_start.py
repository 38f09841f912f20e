"""A warm start begins with exactly the weights of the served model, or says what differs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tf_keras as keras

from tests.support import synthetic_images
from trainer import model as model_lib
from trainer import run as run_lib
from trainer import training, warm_start
from trainer.artifacts import HISTORY_FILE, MODEL_INFO_FILE, PREDICTIONS_FILE
from trainer.calibration import NONE
from trainer.checkpoints import TrainingState
from trainer.parameters import ModelParameters, TrainerParameters, TrainParameters
from trainer.signatures import TriageModule
from trainer.training_history import TrainingHistory
from trainer.warm_start import WarmStartError

MODEL = ModelParameters(backbone='scratch_cnn', image_size=synthetic_images.SIDE)
LABELS = ('abnormal',)


def _info(**changes: Any) -> dict[str, Any]:
    """What the Trainer writes about a model of `MODEL`."""
    parameters = TrainerParameters(model=MODEL).model_dump(mode='json')
    return {'model_version': 'p-1', 'task': 'nih_triage', 'parameters': parameters} | changes


def _write_info(directory: Path, **changes: Any) -> None:
    path = directory / MODEL_INFO_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_info(**changes)))


@pytest.fixture(scope='module')
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[np.ndarray]]:
    """An exported model, and its weights."""
    keras.utils.set_random_seed(5)
    network = model_lib.build(MODEL)
    weights = [
        # Also what no initialisation gives: other statistics of the batch normalisation.
        np.random.default_rng(number).uniform(0.1, 0.9, weight.shape).astype(np.float32)
        for number, weight in enumerate(network.model.get_weights())
    ]
    network.model.set_weights(weights)
    path = tmp_path_factory.mktemp('served') / 'model'
    TriageModule(network, MODEL.image_size, [NONE], 0.5, 'p-1').export(str(path))
    _write_info(path)
    return str(path), weights


def test_a_network_gets_the_weights_of_the_served_model(served) -> None:
    path, weights = served
    start = warm_start.load(path, MODEL, LABELS)
    assert start.model_version == 'p-1'
    network = model_lib.build(MODEL, pretrained=False)
    start.apply(network.model)
    for actual, expected in zip(network.model.get_weights(), weights, strict=True):
        assert np.array_equal(actual, expected)


@pytest.mark.slow
def test_a_served_model_that_was_fine_tuned_fits_a_network_that_is_not_yet(tmp_path: Path) -> None:
    """Freezing layers must not change the order of the weights."""
    parameters = ModelParameters(backbone='mobilenet_v2', image_size=32, pooling='attention')
    network = model_lib.build(parameters, 2, pretrained=False)
    model_lib.unfreeze(network, 0.6)
    TriageModule(network, 32, [NONE, NONE], 0.5, 'p-1', ['Effusion']).export(str(tmp_path))
    trained = TrainerParameters(model=parameters, train=TrainParameters(auxiliary_weight=0.0))
    _write_info(tmp_path, task='cardiomegaly', parameters=trained.model_dump(mode='json'))
    start = warm_start.load(str(tmp_path), parameters, ('Cardiomegaly',))
    other = model_lib.build(parameters, 2, pretrained=False)
    start.apply(other.model)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)
    assert np.array_equal(other.model(pixels), network.model(pixels))
    with pytest.raises(
        WarmStartError,
        match=r'its weights number 262 have the shape \(1280, 2\), those of .* \(1280, 1\)',
    ):
        start.apply(model_lib.build(parameters, 1, pretrained=False).model)


@pytest.mark.parametrize(
    ('model', 'labels', 'text'),
    [
        (
            {'backbone': 'mobilenet_v2'},
            LABELS,
            r'from model p-1 in .*: model\.backbone is scratch_cnn there and mobilenet_v2 here\. '
            r'Change these settings, or set train\.warm_start to none',
        ),
        ({'image_size': 64}, LABELS, r'model\.image_size is \d+ there and 64 here'),
        ({'pooling': 'attention'}, LABELS, r'model\.pooling is average there and attention here'),
        (
            {'image_size': 64, 'pooling': 'attention'},
            ('Cardiomegaly',),
            r'model\.image_size .*; model\.pooling .*; it has learnt abnormal, and this training '
            'learns Cardiomegaly',
        ),
    ],
    ids=['backbone', 'image size', 'pooling', 'several'],
)
def test_each_difference_is_named(
    model: dict[str, Any], labels: tuple[str, ...], text: str, tmp_path: Path
) -> None:
    _write_info(tmp_path)
    with pytest.raises(WarmStartError, match=text):
        warm_start.check(str(tmp_path), MODEL.model_copy(update=model), labels)


def test_other_auxiliary_labels_are_a_difference(tmp_path: Path) -> None:
    parameters = TrainerParameters(model=MODEL, train=TrainParameters(auxiliary_weight=1.0))
    _write_info(tmp_path, parameters=parameters.model_dump(mode='json'))
    with pytest.raises(WarmStartError, match=r'it has learnt abnormal, Atelectasis, '):
        warm_start.check(str(tmp_path), MODEL, LABELS)


def test_a_model_of_another_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WarmStartError, match=r'triage\.json is missing: a training can only'):
        warm_start.check(str(tmp_path), MODEL, LABELS)


def _parameters(**train: Any) -> TrainerParameters:
    settings = {'batch_size': 16, 'epochs': 2, 'learning_rate': 1e-3, 'warm_start': 'served'}
    return TrainerParameters(model=MODEL, train=TrainParameters(**settings | train))


def test_the_curves_begin_with_the_auc_of_the_served_model(served, splits, tmp_path: Path) -> None:
    """With a learning rate that changes nothing, patience also keeps these weights."""
    path, weights = served
    parameters = _parameters(learning_rate=1e-30, patience=1)
    network = model_lib.build(MODEL, pretrained=False)
    warm_start.load(path, MODEL, LABELS).apply(network.model)
    state = TrainingState(str(tmp_path / 'state'))
    history = TrainingHistory(state.history, str(tmp_path / 'logs'))
    logits, labels = training.predict_logits(network.model, splits['val'], 16)
    training.train(network, splits, parameters, state, history, training.prepare(parameters))
    metric = keras.metrics.AUC(from_logits=True, num_thresholds=1000)
    metric.update_state(labels, logits)
    assert history.best('val_auc', 'start') == pytest.approx(float(metric.result()))
    assert history.best('val_auc', 'head') == -np.inf
    for actual, expected in zip(network.model.get_weights(), weights, strict=True):
        assert np.array_equal(actual, expected)


def _arguments(folder: Path, splits, transform_output, base_model: str | None) -> SimpleNamespace:
    def pattern(name: str) -> str:
        return str(Path(splits[name].files[0]).parent / '*')

    return SimpleNamespace(
        custom_config={
            'parameters': _parameters().model_dump_json(),
            'task': 'nih_triage',
            'pipeline': 'p',
            'weights_digest': '',
            'code_digest': 'c',
            'checkpoints': str(folder / 'checkpoints'),
            'warm_start': '17',
        },
        hyperparameters=None,
        base_model=base_model,
        train_files=[pattern('train')],
        eval_files=[pattern('val'), pattern('calibration')],
        transform_graph_path=transform_output.transform_savedmodel_dir.removesuffix(
            '/transform_fn'
        ),
        serving_model_dir=str(folder / 'Format-Serving'),
        model_run_dir=str(folder / 'run'),
    )


@pytest.mark.slow
def test_a_killed_training_resumes_from_the_same_weights(
    served, splits, transform_output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the model says where it started."""
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    run_lib.run_fn(_arguments(whole, splits, transform_output, served[0]))
    keras.backend.clear_session()
    arguments = _arguments(parts, splits, transform_output, served[0])
    original = training.Progress.on_train_batch_end

    def kill(self, batch, logs=None):
        original(self, batch, logs)
        if self._epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Progress, 'on_train_batch_end', kill)
        run_lib.run_fn(arguments)
    keras.backend.clear_session()
    run_lib.run_fn(arguments)
    assert (parts / 'run' / PREDICTIONS_FILE).read_text() == (
        whole / 'run' / PREDICTIONS_FILE
    ).read_text()
    with (parts / 'run' / HISTORY_FILE).open(newline='') as file:
        phases = [(row['phase'], row['epoch']) for row in csv.DictReader(file)]
    assert phases == [('start', '0'), ('training', '0'), ('training', '1')]
    info = json.loads((parts / 'Format-Serving' / MODEL_INFO_FILE).read_text())
    assert info['started_from'] == {'version': '17', 'model_version': 'p-1'}


def test_a_training_from_other_weights_is_not_resumed(splits, transform_output, tmp_path) -> None:
    arguments = _arguments(tmp_path, splits, transform_output, None)
    starts = [None, *(warm_start.Start('p-1', digest, ()) for digest in ('a', 'b'))]
    keys = {
        run_lib._training_key(arguments.custom_config, arguments, splits, start) for start in starts
    }
    assert len(keys) == 3


def test_without_a_served_model_nothing_is_trained(splits, transform_output, tmp_path) -> None:
    arguments = _arguments(tmp_path, splits, transform_output, str(tmp_path / 'none'))
    with pytest.raises(WarmStartError, match='no model is served: set it to none for the first'):
        run_lib.run_fn(arguments)
