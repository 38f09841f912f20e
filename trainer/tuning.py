"""`tuner_fn` for TFX's Tuner: short trainings with several settings; the Trainer uses the best."""

from __future__ import annotations

import logging
import os
from typing import Any

import keras_tuner
import tf_keras as keras
from tfx.components.tuner.component import TunerFnResult

from trainer import input_pipeline, training
from trainer import model as model_lib
from trainer.checkpoints import TrainingState
from trainer.input_pipeline import Split
from trainer.parameters import TrainerParameters, TuningParameters, with_values
from trainer.tasks import TASKS
from trainer.training_history import TrainingHistory

_log = logging.getLogger(__name__)

_OBJECTIVE = 'val_auc'


def tuner_fn(fn_args) -> TunerFnResult:
    """Sets up the search.

    Args:
      fn_args: from TFX. Its `custom_config` has `parameters` (JSON of TrainerParameters), `tuning`
        (JSON of TuningParameters) and `task`.

    Raises:
      backbones.WeightsError: the weights are missing, or belong to another architecture.
      ValueError: a split is empty.
    """
    config = fn_args.custom_config
    parameters = TrainerParameters.model_validate_json(config['parameters'])
    tuning = TuningParameters.model_validate_json(config['tuning'])
    targets = training.targets(TASKS[config['task']], parameters.train)
    files = {'train': fn_args.train_files, 'val': fn_args.eval_files}
    splits = {
        name: input_pipeline.open_split(patterns, targets.labels, parameters.model.image_size)
        for name, patterns in files.items()
    }
    tuner = _TrainingSearch(
        objective=keras_tuner.Objective(_OBJECTIVE, 'max'),
        max_trials=tuning.trials,
        seed=parameters.train.seed,
        directory=os.path.join(fn_args.working_dir, 'tuning'),
        project_name='trials',
        overwrite=True,
    )
    return TunerFnResult(
        tuner,
        {
            'splits': splits,
            'parameters': parameters,
            'tuning': tuning,
            'targets': targets,
            'verbose': 0,
        },
    )


class _TrainingSearch(keras_tuner.BayesianOptimization):
    """A search whose trials are short trainings, with the same code as the Trainer."""

    def run_trial(
        self,
        trial: Any,
        splits: dict[str, Split],
        parameters: TrainerParameters,
        tuning: TuningParameters,
        targets: training.Targets,
        verbose: int,
    ) -> dict[str, float]:
        """Trains with the values of the trial, and returns the validation AUC."""
        search = trial.hyperparameters
        low, high = tuning.learning_rate
        values = {
            'learning_rate': search.Float('learning_rate', low, high, sampling='log'),
            'unfreeze_share': search.Float('unfreeze_share', *tuning.unfreeze_share),
            'dropout': search.Float('dropout', *tuning.dropout),
        }
        chosen = with_values(parameters, values)
        chosen = chosen.model_copy(
            update={'train': chosen.train.model_copy(update={'epochs': tuning.epochs})}
        )
        keras.backend.clear_session()
        folder = os.path.join(self.project_dir, f'trial_{trial.trial_id}')
        state = TrainingState(os.path.join(folder, 'state'))
        strategy = training.prepare(chosen)
        with strategy.scope():
            network = model_lib.build(chosen.model, len(targets.labels))
        training_history = TrainingHistory(state.history, os.path.join(folder, 'logs'))
        training.train(network, splits, chosen, state, training_history, strategy, targets)
        state.discard()
        # The AUC of the weights that the training keeps.
        auc = (training_history.best if chosen.train.patience else training_history.last)(
            _OBJECTIVE
        )
        settings = ', '.join(f'{name} {value:.3g}' for name, value in values.items())
        _log.info(
            'trial %s of %d: %s: validation AUC %.4f',
            int(trial.trial_id) + 1,
            tuning.trials,
            settings,
            auc,
        )
        return {_OBJECTIVE: auc}

    def search_space_summary(self, extended: bool = False) -> None:
        """Prints nothing: the log has the results."""

    def results_summary(self, num_trials: int = 10) -> None:
        """Prints nothing: the log has the results."""
