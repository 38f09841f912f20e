"""The pipeline: its configuration, its graph of components, and the runners for both targets."""

__version__ = '0.1.0'
