"""Synthetic chest X-rays with the signs of the 14 NIH findings, and data sets of them.

The modules are imported on first use, so that `--help` does not import NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from records.synth.dataset import SynthError as SynthError
    from records.synth.dataset import SynthSummary as SynthSummary
    from records.synth.dataset import write_dataset as write_dataset
    from records.synth.rendering import encode_jpeg as encode_jpeg
    from records.synth.rendering import phantom as phantom

_HOME = {
    'SynthError': 'records.synth.dataset',
    'SynthSummary': 'records.synth.dataset',
    'encode_jpeg': 'records.synth.rendering',
    'phantom': 'records.synth.rendering',
    'write_dataset': 'records.synth.dataset',
}
__all__ = ['SynthError', 'SynthSummary', 'encode_jpeg', 'phantom', 'write_dataset']


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_HOME[name]), name)
