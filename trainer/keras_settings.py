"""The settings of Keras, the same in every process whatever the user has set. No TensorFlow here.

Keras reads its settings once, when it is imported: from the environment and from `keras.json` in
its home, `~/.keras` unless KERAS_HOME says otherwise. A backend other than TensorFlow breaks the
Evaluator's import. Another float type, epsilon or image layout changes the model without changing
any key of TFX's cache.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

# A home that can hold no file, so that Keras keeps its defaults. Downloaded weights stay in
# ~/.keras/models, which does not depend on it. The Dockerfile sets the same for entry points that
# are not this project's: those of Vertex AI and of Beam's workers.
SETTINGS = {'KERAS_BACKEND': 'tensorflow', 'KERAS_HOME': os.devnull}
# Prefixes of other variables that would be obeyed, such as KERAS_MAX_EPOCHS and
# KERASTUNER_TUNER_ID, and the switch that TFX sets by itself.
_REMOVED = ('KERAS', 'TF_USE_LEGACY_KERAS')


def apply(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets Keras's part of an environment; call it before anything imports Keras."""
    for name in [name for name in environment if name.startswith(_REMOVED)]:
        del environment[name]
    environment.update(SETTINGS)
