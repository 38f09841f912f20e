"""The files that the trainer leaves beside the SavedModel, by name. No TensorFlow here."""

from __future__ import annotations

import os

# In the model, in SavedModel's place for such files: what a server or a person has to know of it.
MODEL_INFO_FILE = os.path.join('assets.extra', 'triage.json')
# In the `model_run` artifact: training curves, and the trainer's answers on the splits it did not
# learn from.
HISTORY_FILE = 'history.csv'
PREDICTIONS_FILE = 'predictions.json'
EVALUATION_SPLITS: tuple[str, ...] = ('val', 'calibration')
