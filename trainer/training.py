"""The two phases of training: a head on frozen features, then fine-tuning with checkpoints."""

from __future__ import annotations

import dataclasses
import logging
import math

import numpy as np
import tensorflow as tf
import tf_keras as keras

from schemas.labels import FINDINGS
from trainer import head, input_pipeline, losses
from trainer import model as model_lib
from trainer.artifacts import START
from trainer.checkpoints import TrainingState
from trainer.input_pipeline import Split
from trainer.moving_average import MovingAverage
from trainer.parameters import PRETRAINED, TrainerParameters, TrainParameters
from trainer.tasks import Task
from trainer.tracing import without_autograph
from trainer.training_history import TrainingHistory

_log = logging.getLogger(__name__)


class TrainingError(ValueError):
    """The training cannot give a usable network; the message says what to change."""


@dataclasses.dataclass(frozen=True)
class Targets:
    """The labels that a model learns, and their weights in the loss.

    The exported model predicts the first `served` labels.
    """

    labels: tuple[str, ...]
    weights: tuple[float, ...]
    served: int


ONE_LABEL = Targets(('',), (1.0,), 1)


def targets(task: Task, parameters: TrainParameters) -> Targets:
    """The labels of a task, followed by the other findings if `auxiliary_weight` is not 0."""
    auxiliary = (
        tuple(name for name in FINDINGS if name not in task.outputs)
        if parameters.auxiliary_weight
        else ()
    )
    weights = [1.0] * len(task.outputs) + [
        parameters.auxiliary_weight / max(len(auxiliary), 1)
    ] * len(auxiliary)
    return Targets((*task.outputs, *auxiliary), tuple(weights), len(task.outputs))


def prepare(parameters: TrainerParameters) -> tf.distribute.Strategy:
    """Sets the seeds, and chooses precision and devices: float16 and all GPUs, or float32."""
    keras.utils.set_random_seed(parameters.train.seed)
    # On a GPU, TensorFlow has no deterministic gradient of frozen batch normalisation: it raises an
    # error.
    if parameters.train.deterministic and not tf.config.list_physical_devices('GPU'):
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_logical_devices('GPU')
    keras.mixed_precision.set_global_policy('mixed_float16' if gpus else 'float32')
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


@without_autograph
def train(
    network: model_lib.Network,
    splits: dict[str, Split],
    parameters: TrainerParameters,
    state: TrainingState,
    training_history: TrainingHistory,
    strategy: tf.distribute.Strategy,
    targets: Targets = ONE_LABEL,
) -> None:
    """Trains `network` in place.

    It keeps the weights of the last epoch. With `train.patience` it keeps those with the best
    validation AUC, which can be the weights before the first epoch. With `train.warm_start`, the
    network has the weights of the served model already.
    """
    best = None
    if parameters.train.warm_start != 'none':
        if not state.started():
            best = _score_start(network, splits['val'], parameters, training_history, targets)
    elif (
        parameters.model.backbone in PRETRAINED
        and parameters.train.head_first
        and not state.started()
    ):
        # Not in the strategy's scope, where metrics belong to replicas.
        best = fit_head(network, splits, parameters, training_history, targets)
    if parameters.train.epochs:
        with strategy.scope():
            _fit_all(network, splits, parameters, state, training_history, best, targets)
        _warn_if_worse(training_history, parameters.train)


# The number of penalties in a row without improvement after which weaker ones are not tried.
_PENALTY_PATIENCE = 2


def fit_head(
    network: model_lib.Network,
    splits: dict[str, Split],
    parameters: TrainerParameters,
    training_history: TrainingHistory,
    targets: Targets = ONE_LABEL,
) -> float:
    """Fits the head on the features of the frozen backbone, without augmentation.

    Each image passes through the backbone once. The penalty is the one with the best validation
    AUC.

    Returns:
      The validation AUC of the head.
    """
    features = {
        name: extract(network.extractor, splits[name], parameters.train.batch_size, name)
        for name in ('train', 'val')
    }
    weights = losses.weights(splits['train'].values, np.array(targets.weights), parameters.train)
    best, chosen, waited = -1.0, None, 0
    for number, candidate in enumerate(head.regularisation_path(*features['train'], weights)):
        aucs = {}
        for name, (inputs, labels) in features.items():
            metric = _auc_metric(targets)
            metric.update_state(labels, candidate.logits(inputs))
            aucs[name] = float(metric.result())
        training_history.write(
            'head',
            number,
            {
                'penalty': candidate.penalty,
                'loss': candidate.loss,
                'auc': aucs['train'],
                'val_auc': aucs['val'],
            },
        )
        waited += 1
        if aucs['val'] > best:
            best, chosen, waited = aucs['val'], candidate, 0
        elif waited == _PENALTY_PATIENCE:
            break
    if chosen is None:
        raise ValueError(
            'the head cannot be fitted: its AUC on the val split is not a number. Are the weights '
            'finite?'
        )
    network.head.get_layer(model_lib.HEAD).set_weights([chosen.kernel, chosen.bias])
    _log.info('head on frozen features: validation AUC %.4f with penalty %g', best, chosen.penalty)
    return best


def _score_start(
    network: model_lib.Network,
    split: Split,
    parameters: TrainerParameters,
    training_history: TrainingHistory,
    targets: Targets,
) -> float:
    """The validation AUC of the weights that a warm start begins with."""
    logits, labels = predict_logits(network.model, split, parameters.train.batch_size)
    metric = _auc_metric(targets)
    metric.update_state(labels, logits)
    auc = float(metric.result())
    training_history.write(START, 0, {'val_auc': auc})
    _log.info('warm start: validation AUC %.4f before the first epoch', auc)
    return auc


def predict_logits(
    model: keras.Model, split: Split, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The logits of a split, float32 [n, labels], and its labels, int of the same shape.

    They are in the order of `input_pipeline.image_ids`.
    """
    logits, labels = [], []
    predict = tf.function(
        lambda pixels: model(pixels, training=False), reduce_retracing=True, autograph=False
    )
    for pixels, label in input_pipeline.evaluation_batches(split, batch_size):
        logits.append(predict(pixels).numpy())
        labels.append(label.numpy())
    return np.concatenate(logits), np.concatenate(labels).astype(int)


def _fit_all(
    network, splits, parameters, state, training_history, best: float | None, targets: Targets
) -> None:
    train, model = parameters.train, network.model
    if parameters.model.backbone in PRETRAINED:
        model_lib.unfreeze(network, train.unfreeze_share)
    steps = input_pipeline.steps_per_epoch(splits['train'], train)
    model.compile(
        keras.optimizers.Adam(learning_rate(train, steps)),
        **_loss_and_metrics(splits['train'], parameters, targets),
    )
    state.restore(model, MovingAverage(model.trainable_variables, train.ema) if train.ema else None)
    if best is not None and train.patience:
        state.begin(best)
    validation = input_pipeline.evaluation_batches(splits['val'], train.batch_size)
    # FiniteLoss comes first, so that no epoch with an infinite loss is saved.
    callbacks = [
        FiniteLoss(train.learning_rate),
        Progress(train.epochs, steps),
        state.callback(train.patience, training_history),
    ]
    # One call of `fit` per epoch: the order of the images depends only on the epoch, so a resumed
    # training equals an uninterrupted one.
    check_pixels(
        next(iter(input_pipeline.training_batches(splits['train'], train, state.epoch)))[0]
    )
    while not state.finished(train.epochs, train.patience):
        batches = input_pipeline.training_batches(splits['train'], train, state.epoch)
        model.fit(
            batches,
            initial_epoch=state.epoch,
            epochs=state.epoch + 1,
            validation_data=validation,
            callbacks=callbacks,
            verbose=0,
        )
    state.restore_final(model)


# A difference of validation AUCs that can be chance, on a split of some hundred images.
_CHANCE = 0.01


def _warn_if_worse(training_history: TrainingHistory, train: TrainParameters) -> None:
    start_auc = max(training_history.best('val_auc', phase) for phase in ('head', START))
    tuned_auc = training_history.last('val_auc')
    if train.patience is None and tuned_auc < start_auc - _CHANCE:
        _log.warning(
            'fine-tuning made the network worse: its validation AUC is %.4f, and %.4f without '
            'fine-tuning. Lower train.learning_rate (now %g) or '
            'raise train.warmup_epochs (now %g; at most a quarter of the epochs is used); '
            'train.patience keeps the best epoch.',
            tuned_auc,
            start_auc,
            train.learning_rate,
            train.warmup_epochs,
        )


# Short trainings, such as the trials of a search, must reach their learning rate, too.
_WARMUP_SHARE = 0.25


def learning_rate(
    train: TrainParameters, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Rises from 0 to `train.learning_rate`, then falls to 0 along a cosine.

    The rise takes `train.warmup_epochs`, but at most a quarter of all epochs.

    Args:
      train: the settings.
      steps: number of steps per epoch.
    """
    warmup = round(min(train.warmup_epochs, _WARMUP_SHARE * train.epochs) * steps)
    decay = max(1, train.epochs * steps - warmup)
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(train.learning_rate, decay)
    return keras.optimizers.schedules.CosineDecay(
        0.0, decay, warmup_target=train.learning_rate, warmup_steps=warmup
    )


def check_pixels(pixels: tf.Tensor) -> None:
    """Refuses a batch of pixels that are not grey levels in 0..255.

    Raises:
      ValueError: values below 0 or above 255, or none above 1 (scaled already).
    """
    low, high = float(tf.reduce_min(pixels)), float(tf.reduce_max(pixels))
    if not (low >= 0 and 1 < high <= 255):
        raise ValueError(
            f'pixels are in {low:g}..{high:g}: expected grey levels in 0..255, as the network '
            'scales them itself'
        )


class FiniteLoss(keras.callbacks.Callback):
    """Stops a training when its loss is NaN or infinite, as further steps cannot recover."""

    def __init__(self, learning_rate: float):
        super().__init__()
        self._learning_rate, self._epoch = learning_rate, 0

    def on_epoch_begin(self, epoch, logs=None):
        """Remembers the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Checks the mean loss of the epoch so far.

        Raises:
          TrainingError: it is NaN or infinite.
        """
        self._check((logs or {}).get('loss', 0.0), f'the training loss after step {batch + 1}')

    def on_epoch_end(self, epoch, logs=None):
        """Checks the validation loss; raises the same error as `on_train_batch_end`."""
        self._check((logs or {}).get('val_loss', 0.0), 'the validation loss')

    def _check(self, loss: float, name: str) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f'{name} of epoch {self._epoch + 1} is {loss}: the training has diverged. '
                f'Lower train.learning_rate (now {self._learning_rate:g}) or raise '
                'train.warmup_epochs'
            )


class Progress(keras.callbacks.Callback):
    """Logs the progress of an epoch."""

    def __init__(self, epochs: int, steps: int):
        super().__init__()
        self._epochs, self._steps, self._epoch = epochs, steps, 0

    def on_epoch_begin(self, epoch, logs=None):
        """Remembers the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Logs the number of finished steps."""
        finished_steps = self._epoch * self._steps + batch + 1
        _log.info(
            'epoch %d/%d',
            self._epoch + 1,
            self._epochs,
            extra={'done': finished_steps, 'total': self._epochs * self._steps},
        )

    def on_epoch_end(self, epoch, logs=None):
        """Logs the figures of the epoch."""
        logs = logs or {}
        numbers = ', '.join(
            f'{name} {logs[name]:.4f}'
            for name in ('loss', 'auc', 'val_loss', 'val_auc')
            if name in logs
        )
        _log.info('epoch %d/%d: %s', epoch + 1, self._epochs, numbers)


def extract(
    extractor: keras.Model, split: Split, batch_size: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """The features of a split, float32 [n, width], and its labels, float32 [n, labels].

    `name` is the split's name in the log.
    """
    features, labels, total = [], [], math.ceil(split.records / batch_size)
    predict = tf.function(
        lambda pixels: extractor(pixels, training=False), reduce_retracing=True, autograph=False
    )
    for number, (pixels, label) in enumerate(input_pipeline.evaluation_batches(split, batch_size)):
        features.append(predict(pixels).numpy().astype(np.float32))
        labels.append(label.numpy())
        _log.info('features of the %s split', name, extra={'done': number + 1, 'total': total})
    return np.concatenate(features), np.concatenate(labels)


def _loss_and_metrics(split: Split, parameters: TrainerParameters, targets: Targets) -> dict:
    train = parameters.train
    weights = losses.weights(split.values, np.array(targets.weights), train)
    return {
        'loss': losses.LabelLoss(weights, train.label_smoothing, train.focal_gamma),
        'metrics': [_auc_metric(targets)],
    }


def _auc_metric(targets: Targets) -> keras.metrics.AUC:
    """AUC from logits [n, labels]: the mean over the served labels."""
    options = {}
    if len(targets.weights) > 1:
        weights = [float(index < targets.served) for index in range(len(targets.weights))]
        options = {'multi_label': True, 'num_labels': len(weights), 'label_weights': weights}
    return keras.metrics.AUC(name='auc', from_logits=True, num_thresholds=1000, **options)
