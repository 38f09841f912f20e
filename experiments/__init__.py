"""Experiments that measure model quality: tables, ablations, heat maps and shifts."""

from trainer import keras_settings

# Before an experiment imports Keras: experiments use the same settings as the commands.
keras_settings.apply()
