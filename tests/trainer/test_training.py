"""Training: it resumes with the same result, and keeps the last or the best weights."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from trainer import checkpoints, head, training
from trainer import model as model_lib
from trainer import parameters as parameters_lib
from trainer.checkpoints import TrainingState
from trainer.input_pipeline import Split
from trainer.parameters import ModelParameters, TrainerParameters, TrainParameters
from trainer.training_history import TrainingHistory

MODEL = ModelParameters(backbone='scratch_cnn', image_size=32, dropout=0.3)


class Killed(BaseException):
    """Simulates a kill: nothing in the trainer catches it."""


def _parameters(**changes) -> TrainerParameters:
    train = {'batch_size': 16, 'epochs': 4, 'learning_rate': 1e-3, **changes}
    return TrainerParameters(model=MODEL, train=TrainParameters(**train))


def _train(
    folder: Path, splits: dict[str, Split], parameters: TrainerParameters
) -> tuple[model_lib.Network, TrainingState, list[dict]]:
    """Trains as `run_fn` does, with checkpoints in `folder`."""
    keras.backend.clear_session()
    state = TrainingState(str(folder))
    training_history = TrainingHistory(state.history, str(folder / 'logs'))
    strategy = training.prepare(parameters)
    with strategy.scope():
        network = model_lib.build(parameters.model)
    training.train(network, splits, parameters, state, training_history, strategy)
    training_history.to_csv(str(folder / 'history.csv'))
    with (folder / 'history.csv').open(newline='') as file:
        return network, state, list(csv.DictReader(file))


def _auc(network: model_lib.Network, split: Split) -> float:
    logits, labels = training.predict_logits(network.model, split, 16)
    metric = keras.metrics.AUC(from_logits=True, num_thresholds=1000)
    metric.update_state(labels, logits)
    return float(metric.result())


def _same_weights(first: model_lib.Network, second: model_lib.Network) -> bool:
    return all(
        np.array_equal(weight, other)
        for weight, other in zip(first.model.get_weights(), second.model.get_weights(), strict=True)
    )


@pytest.fixture
def with_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs both phases for the small network, as if it were a pretrained one."""
    for module in (training, parameters_lib):
        monkeypatch.setattr(module, 'PRETRAINED', ('scratch_cnn',))


@pytest.fixture(scope='module')
def uninterrupted(
    splits: dict[str, Split], tmp_path_factory: pytest.TempPathFactory
) -> tuple[model_lib.Network, TrainingState, list[dict]]:
    return _train(tmp_path_factory.mktemp('uninterrupted'), splits, _parameters())


def test_the_history_has_each_epoch(uninterrupted) -> None:
    _, state, history = uninterrupted
    assert [(row['phase'], row['epoch']) for row in history] == [
        ('training', str(epoch)) for epoch in range(4)
    ]
    assert {'loss', 'auc', 'val_loss', 'val_auc'} <= set(history[0])
    assert state.epoch == 4


def _val_aucs(history: list[dict]) -> list[float]:
    return [float(row['val_auc']) for row in history]


def _epoch_of_weights(history: list[dict], network: model_lib.Network, split: Split) -> int:
    """The epoch whose weights the network has, identified by the loss on the split."""
    logits, labels = training.predict_logits(network.model, split, 16)
    loss = float(keras.losses.BinaryCrossentropy(from_logits=True)(labels, logits))
    (epoch,) = (
        epoch
        for epoch, row in enumerate(history)
        if float(row['val_loss']) == pytest.approx(loss, rel=1e-4)
    )
    return epoch


# The steps are so large that the best epoch is not the last one. Class weights would change the
# loss.
LARGE_STEPS = {'learning_rate': 0.03, 'epochs': 3, 'balance': 'none'}


@pytest.mark.slow
def test_training_keeps_the_weights_of_the_last_epoch(
    splits: dict[str, Split], tmp_path: Path
) -> None:
    network, _, history = _train(tmp_path, splits, _parameters(**LARGE_STEPS))
    assert _epoch_of_weights(history, network, splits['val']) == 2


def test_with_patience_training_keeps_the_weights_of_the_best_epoch(
    splits: dict[str, Split], tmp_path: Path
) -> None:
    network, _, history = _train(tmp_path, splits, _parameters(**LARGE_STEPS, patience=9))
    assert _epoch_of_weights(history, network, splits['val']) == int(np.argmax(_val_aucs(history)))


@pytest.mark.slow
def test_with_a_moving_average_training_keeps_the_average(
    splits: dict[str, Split], tmp_path: Path
) -> None:
    network, _, history = _train(tmp_path / 'average', splits, _parameters(ema=0.9))
    assert _auc(network, splits['val']) == pytest.approx(_val_aucs(history)[-1], abs=1e-6)
    plain, _, _ = _train(tmp_path / 'plain', splits, _parameters())
    assert not _same_weights(network, plain)


def _kill_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    original = training.Progress.on_train_batch_end

    def kill(self, batch, logs=None):
        original(self, batch, logs)
        if self._epoch == epoch and batch == 1:
            raise Killed

    monkeypatch.setattr(training.Progress, 'on_train_batch_end', kill)


def _kill_before_saving(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    original = TrainingHistory.write

    def kill(self, phase, number, figures):
        original(self, phase, number, figures)
        if (phase, number) == ('training', epoch):
            raise Killed

    monkeypatch.setattr(TrainingHistory, 'write', kill)


def _kill_while_saving(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Kills after the best weights may have been saved, and before the state is saved."""
    original = tf.train.CheckpointManager.save

    def kill(self, checkpoint_number=None, **options):
        if self.directory.endswith('latest') and checkpoint_number == epoch + 1:
            raise Killed
        return original(self, checkpoint_number=checkpoint_number, **options)

    monkeypatch.setattr(tf.train.CheckpointManager, 'save', kill)


@pytest.mark.parametrize(
    ('kill', 'epoch'),
    [
        pytest.param(_kill_in_epoch, 0, id='in the first epoch', marks=pytest.mark.slow),
        pytest.param(_kill_in_epoch, 2, id='in the third epoch'),
        pytest.param(_kill_before_saving, 1, id='before saving', marks=pytest.mark.slow),
        pytest.param(_kill_while_saving, 2, id='while saving', marks=pytest.mark.slow),
        pytest.param(
            _kill_while_saving, 3, id='while saving the last epoch', marks=pytest.mark.slow
        ),
    ],
)
def test_a_killed_training_resumes_with_the_same_result(
    kill, epoch: int, uninterrupted, splits, tmp_path: Path, monkeypatch
) -> None:
    expected, _, history = uninterrupted
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill(patch, epoch)
        _train(tmp_path, splits, _parameters())
    network, state, resumed = _train(tmp_path, splits, _parameters())
    assert _same_weights(network, expected)
    assert resumed == history
    assert state.epoch == 4


@pytest.mark.slow
@pytest.mark.long
def test_a_resumed_training_counts_epochs_without_improvement_from_before(
    splits: dict[str, Split], tmp_path: Path, monkeypatch
) -> None:
    parameters = _parameters(learning_rate=1e-30, patience=2, epochs=9)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _kill_in_epoch(patch, 2)
        _train(tmp_path / 'killed', splits, parameters)
    _, state, resumed = _train(tmp_path / 'killed', splits, parameters)
    _, expected_state, history = _train(tmp_path / 'uninterrupted', splits, parameters)
    assert resumed == history
    assert state.epoch == expected_state.epoch < 9
    best = int(np.argmax(_val_aucs(history)))
    assert len(history) == best + 1 + parameters.train.patience


@pytest.mark.slow
def test_a_finished_training_does_not_continue(
    uninterrupted, splits, tmp_path: Path, monkeypatch
) -> None:
    """This happens after a kill between the last epoch and the export."""
    _train(tmp_path, splits, _parameters(epochs=2))
    monkeypatch.setattr(
        training.Progress,
        'on_epoch_begin',
        lambda self, epoch, logs=None: pytest.fail('trained again'),
    )
    network, state, history = _train(tmp_path, splits, _parameters(epochs=2))
    assert len(history) == state.epoch == 2
    assert _auc(network, splits['val']) == pytest.approx(_val_aucs(history)[-1], abs=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures('with_head')
def test_with_patience_training_keeps_the_head_if_fine_tuning_is_worse(
    splits: dict[str, Split], tmp_path: Path, monkeypatch
) -> None:
    snapshots: list[list[np.ndarray]] = []
    begin = TrainingState.begin

    def begin_with_snapshot(self, val_auc):
        snapshots.append([weight.numpy() for weight in tf.nest.flatten(networks[0].model.weights)])
        return begin(self, val_auc)

    networks: list[model_lib.Network] = []
    build = model_lib.build
    monkeypatch.setattr(
        model_lib, 'build', lambda parameters: networks.append(build(parameters)) or networks[-1]
    )
    monkeypatch.setattr(TrainingState, 'begin', begin_with_snapshot)
    monkeypatch.setattr(
        checkpoints.TrainingState, 'finished', lambda self, epochs, patience: self.epoch >= epochs
    )
    network, _, history = _train(
        tmp_path, splits, _parameters(epochs=2, learning_rate=30.0, patience=9)
    )
    head_aucs = [float(row['val_auc']) for row in history if row['phase'] == 'head']
    tuned_aucs = [float(row['val_auc']) for row in history if row['phase'] == 'training']
    assert max(tuned_aucs) < max(head_aucs)
    assert all(
        np.array_equal(weight, expected)
        for weight, expected in zip(network.model.get_weights(), snapshots[0], strict=True)
    )
    assert _auc(network, splits['val']) == pytest.approx(max(head_aucs), abs=1e-6)


@pytest.mark.parametrize(
    ('epochs', 'warmup_epochs', 'warmup_steps'),
    [(8, 2.0, 20), (8, 0.5, 5), (8, 0.0, 0), (3, 2.0, 8), (1, 2.0, 2)],
    ids=['as configured', 'half an epoch', 'none', 'a search', 'one epoch'],
)
def test_the_learning_rate_rises_for_at_most_a_quarter_and_falls_to_zero(
    epochs: int, warmup_epochs: float, warmup_steps: int
) -> None:
    """An epoch has ten steps here."""
    rate = training.learning_rate(
        TrainParameters(epochs=epochs, warmup_epochs=warmup_epochs, learning_rate=0.5), 10
    )
    rates = np.array([float(rate(step)) for step in range(10 * epochs + 1)])
    assert int(rates.argmax()) == warmup_steps
    assert rates[warmup_steps] == pytest.approx(0.5)
    assert np.allclose(rates[:warmup_steps], 0.5 * np.arange(warmup_steps) / max(1, warmup_steps))
    assert (np.diff(rates[warmup_steps:]) < 0).all()
    assert rates[-1] == pytest.approx(0.0, abs=1e-7)


@pytest.mark.slow
@pytest.mark.usefixtures('with_head')
@pytest.mark.parametrize(
    ('learning_rate', 'is_logged'), [(30.0, True), (1e-30, False)], ids=['too high', 'almost 0']
)
def test_fine_tuning_that_makes_the_network_worse_logs_a_warning(
    learning_rate: float, is_logged: bool, splits, tmp_path: Path, caplog
) -> None:
    _train(
        tmp_path,
        splits,
        _parameters(epochs=1, warmup_epochs=0, learning_rate=learning_rate, balance='none'),
    )
    warnings = [
        record
        for record in caplog.records
        if record.levelno == logging.WARNING and 'made the network worse' in record.getMessage()
    ]
    assert bool(warnings) is is_logged


@pytest.mark.slow
@pytest.mark.usefixtures('with_head')
@pytest.mark.parametrize(
    'epoch',
    [
        pytest.param(0, id='in the first epoch of fine-tuning'),
        pytest.param(1, id='in the second', marks=pytest.mark.long),
    ],
)
def test_both_phases_resume_with_the_same_result(
    epoch: int, splits, tmp_path: Path, monkeypatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _kill_in_epoch(patch, epoch)
        _train(tmp_path / 'killed', splits, _parameters(epochs=2))
    network, _, resumed = _train(tmp_path / 'killed', splits, _parameters(epochs=2))
    expected, _, history = _train(tmp_path / 'uninterrupted', splits, _parameters(epochs=2))
    assert _same_weights(network, expected)
    assert resumed == history
    phases = [row['phase'] for row in history]
    assert phases == ['head'] * phases.count('head') + ['training'] * 2
    assert 2 < phases.count('head') <= len(head.PENALTIES)


@pytest.mark.slow
@pytest.mark.usefixtures('with_head')
@pytest.mark.parametrize(
    ('changes', 'phase'),
    [({'head_first': False, 'epochs': 1}, 'training'), ({'epochs': 0}, 'head')],
    ids=['without head', 'head only'],
)
def test_either_phase_can_be_skipped(changes: dict, phase: str, splits, tmp_path: Path) -> None:
    network, _, history = _train(tmp_path, splits, _parameters(**changes))
    assert {row['phase'] for row in history} == {phase}
    # The network has the best head, not the last one that was tried.
    assert _auc(network, splits['val']) == pytest.approx(max(_val_aucs(history)), abs=1e-6)


def test_a_diverged_training_stops_and_is_not_resumed(splits, tmp_path: Path) -> None:
    with pytest.raises(
        training.TrainingError,
        match=r'loss .*of epoch 1 is (nan|inf): .* Lower train.learning_rate \(now 1e\+38\)',
    ):
        _train(tmp_path, splits, _parameters(learning_rate=1e38, warmup_epochs=0))
    assert not TrainingState(str(tmp_path)).started()


@pytest.mark.parametrize(
    ('model', 'train', 'message'),
    [
        (
            {'backbone': 'scratch_cnn'},
            {'epochs': 0},
            "backbone 'scratch_cnn' starts from random weights: nothing would be trained",
        ),
        (
            {},
            {'epochs': 0, 'head_first': False},
            'train.head_first is false: nothing would be trained',
        ),
    ],
    ids=['from scratch', 'without phase 1'],
)
def test_parameters_that_train_nothing_are_refused(model: dict, train: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainerParameters(model=ModelParameters(**model), train=TrainParameters(**train))


@pytest.mark.usefixtures('with_head')
def test_weaker_penalties_are_tried_while_they_help(
    splits: dict[str, Split], tmp_path: Path
) -> None:
    _, _, history = _train(tmp_path, splits, _parameters(epochs=0))
    assert [float(row['penalty']) for row in history] == list(head.PENALTIES[: len(history)])
    aucs = _val_aucs(history)
    assert len(history) in (len(head.PENALTIES), int(np.argmax(aucs)) + 3)
    losses = [float(row['loss']) for row in history]
    assert losses == sorted(losses, reverse=True)


def test_discard_removes_the_directory(tmp_path: Path) -> None:
    state = TrainingState(str(tmp_path / 'state'))
    TrainingHistory(state.history, str(tmp_path / 'logs')).write('training', 0, {})
    state.discard()
    state.discard()
    assert not (tmp_path / 'state').exists()


@pytest.mark.parametrize(
    'pixels',
    [
        [0.0, 0.5, 1.0],
        [-1.0, 0.0, 1.0],
        [-0.1, 100.0, 200.0],
        [0.0, 10.0, 256.0],
        [float('nan'), 3.0, 4.0],
    ],
    ids=['0..1', '-1..1', 'negative', 'above 255', 'NaN'],
)
def test_pixels_on_another_scale_are_refused(pixels: list[float]) -> None:
    with pytest.raises(ValueError, match=r'expected grey levels in 0\.\.255'):
        training.check_pixels(tf.constant(pixels))


def test_grey_levels_are_accepted() -> None:
    training.check_pixels(tf.constant([0.0, 13.5, 255.0]))


@pytest.mark.slow
@pytest.mark.parametrize('gpus', [0, 1])
def test_deterministic_operations_are_enabled_only_without_gpus(
    gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(tf.config.experimental, 'enable_op_determinism', lambda: calls.append(True))
    monkeypatch.setattr(
        tf.config, 'list_physical_devices', lambda kind: ['GPU'] * gpus if kind == 'GPU' else []
    )
    training.prepare(_parameters())
    assert calls == [True] * (1 - gpus)


def test_progress_is_logged_after_each_step(
    splits: dict[str, Split], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger='trainer'):
        _train(tmp_path, splits, _parameters(epochs=2))
    progress = [
        (record.done, record.total) for record in caplog.records if hasattr(record, 'total')
    ]
    assert progress == [(step, 6) for step in range(1, 7)]
    assert sum('val_auc' in record.getMessage() for record in caplog.records) == 2
