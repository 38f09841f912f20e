"""Recalibrates a pushed version: new offset, temperature and operating point, the same network."""


class RecalibrationError(ValueError):
    """A version or data that cannot be used for this; the text says why and what to do."""
