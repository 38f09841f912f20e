"""Benchmarks that measure speed and memory, as ratios to a named reference in the same run."""

from trainer import keras_settings

# Before a benchmark imports Keras: benchmarks use the same settings as the commands.
keras_settings.apply()
