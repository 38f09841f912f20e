"""What prints the project's claims of speed and quality again, each as a ratio against a named
reference in the same run.
"""

from trainer import keras_settings

# Before a benchmark imports Keras: they measure what the commands do.
keras_settings.apply()
