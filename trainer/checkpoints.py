"""Checkpoints from which an interrupted training resumes."""

from __future__ import annotations

import logging
import os

import tensorflow as tf
import tf_keras as keras

import storage
from trainer.moving_average import MovingAverage
from trainer.training_history import TrainingHistory

_log = logging.getLogger(__name__)


class TrainingState:
    """The state of the fine-tuning phase: weights, optimizer, epoch, early stopping and history.

    Its directory outlives a killed run.
    """

    def __init__(self, directory: str):
        self._directory = directory
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._best = tf.Variable(-1.0, dtype=tf.float64, trainable=False)
        self._waited = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def epoch(self) -> int:
        """The next epoch to train."""
        return int(self._epoch.numpy())

    @property
    def history(self) -> str:
        """Path of the file with the figures of each epoch."""
        return os.path.join(self._directory, 'history.jsonl')

    def started(self) -> bool:
        """Whether an earlier run has finished an epoch."""
        return tf.train.latest_checkpoint(os.path.join(self._directory, 'latest')) is not None

    def finished(self, epochs: int, patience: int | None) -> bool:
        """Whether all epochs are done, or the last `patience` epochs brought no improvement."""
        return self.epoch >= epochs or (
            patience is not None and self.epoch > 0 and int(self._waited.numpy()) >= patience
        )

    def restore(self, model: keras.Model, average: MovingAverage | None = None) -> None:
        """Restores the state after the last finished epoch, if there is one.

        Args:
          model: compiled.
          average: the moving average of the model's weights that the training ends with, if any.
        """
        self._average = average
        # The slots of the optimizer must exist before they can be restored.
        model.optimizer.build(model.trainable_variables)
        tracked = {} if average is None else {'average': average}
        self._latest = self._manager('latest', model=model, optimizer=model.optimizer, **tracked)
        self._final_weights = self._manager('kept', model=model)
        if self._latest.latest_checkpoint:
            self._latest.checkpoint.restore(
                self._latest.latest_checkpoint
            ).assert_existing_objects_matched()
            _log.info('resuming after epoch %d', self.epoch)

    def begin(self, val_auc: float) -> None:
        """Saves the weights before the first epoch as the best so far. Call `restore` first."""
        self._final_weights.save(checkpoint_number=0)
        self._best.assign(val_auc)

    def restore_final(self, model: keras.Model) -> None:
        """Loads the weights of the last epoch, or with patience those of the best epoch."""
        if self._final_weights.latest_checkpoint:
            tf.train.Checkpoint(model=model).restore(
                self._final_weights.latest_checkpoint
            ).assert_existing_objects_matched()

    def callback(
        self, patience: int | None, training_history: TrainingHistory
    ) -> keras.callbacks.Callback:
        """Updates the average, and saves the state after each epoch.

        It counts the epochs without a better validation AUC; see `finished`.
        """
        state = self

        class SaveAndStop(keras.callbacks.Callback):
            """See `callback`."""

            def on_train_batch_end(self, batch, logs=None):
                """Updates the average."""
                if state._average is not None:
                    state._average.update()

            def on_test_begin(self, logs=None):
                """Swaps in the averages, so that the validation uses them."""
                if state._average is not None:
                    state._average.swap()

            def on_epoch_end(self, epoch, logs=None):
                """Saves the weights if they may be the final ones, then the state.

                After a kill between the two, the epoch runs again with the same result.
                """
                logs = logs or {}
                training_history.write('training', epoch, logs)
                better = logs['val_auc'] > float(state._best.numpy())
                if better or patience is None:
                    state._final_weights.save(checkpoint_number=epoch + 1)
                if better:
                    state._best.assign(logs['val_auc'])
                if state._average is not None:
                    state._average.swap()
                state._waited.assign(0 if better else state._waited + 1)
                state._epoch.assign(epoch + 1)
                state._latest.save(checkpoint_number=epoch + 1)
                if state.finished(epoch + 2, patience):
                    _log.info('stopped early: no better validation AUC for %d epochs', patience)

        return SaveAndStop()

    def discard(self) -> None:
        """Removes the directory. Call it once the model is exported."""
        storage.remove_tree(self._directory)

    def _manager(self, name: str, **tracked) -> tf.train.CheckpointManager:
        checkpoint = tf.train.Checkpoint(
            **tracked, epoch=self._epoch, best=self._best, waited=self._waited
        )
        if name == 'kept':
            checkpoint = tf.train.Checkpoint(**tracked)
        return tf.train.CheckpointManager(
            checkpoint, os.path.join(self._directory, name), max_to_keep=1
        )
