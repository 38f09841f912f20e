"""What prints the project's claims of model quality again: tables, ablations, heat maps, shifts."""

from trainer import keras_settings

# Before an experiment imports Keras: they measure what the commands do.
keras_settings.apply()
