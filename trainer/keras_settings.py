"""The settings of Keras, the same in every process whatever the user has set. No TensorFlow here.

Keras reads its settings once, on import: from the environment and from `keras.json` in its home,
which is KERAS_HOME or else `~/.keras`. A backend other than TensorFlow breaks the Evaluator's
import. Another float type, epsilon or image layout changes the model, but no key of TFX's cache.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

# A home that cannot contain files, so that Keras keeps its defaults. It does not affect downloaded
# weights, which stay in ~/.keras/models. The Dockerfile sets the same variables for entry points of
# Vertex AI and of Beam's workers.
SETTINGS = {'KERAS_BACKEND': 'tensorflow', 'KERAS_HOME': os.devnull}
# Prefixes of other variables that Keras reads, such as KERAS_MAX_EPOCHS and KERASTUNER_TUNER_ID,
# and of the switch that TFX sets.
_REMOVED = ('KERAS', 'TF_USE_LEGACY_KERAS')


def apply(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets the variables of Keras. Call it before anything imports Keras."""
    for name in [name for name in environment if name.startswith(_REMOVED)]:
        del environment[name]
    environment.update(SETTINGS)
