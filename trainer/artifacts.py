"""Names of the files that the trainer writes beside the SavedModel. No TensorFlow here."""

from __future__ import annotations

import os

# In the model, in SavedModel's folder for extra files: what servers and people need to know.
MODEL_INFO_FILE = os.path.join('assets.extra', 'triage.json')
# In the `model_run` artifact: training curves, and the model's predictions on the splits that are
# not used for training.
HISTORY_FILE = 'history.csv'
# The phase in the training curves that has the validation AUC of a warm start, before any epoch.
START = 'start'
PREDICTIONS_FILE = 'predictions.json'
EVALUATION_SPLITS: tuple[str, ...] = ('val', 'calibration')
