"""Synthetic frontal chest X-rays: phantoms with the signs of the 14 NIH findings, and data sets of
them in the NIH layout.

What this package offers is loaded when it is first asked for, so that the command line can be
described without numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from records.synth.dataset import SynthError as SynthError
    from records.synth.dataset import SynthSummary as SynthSummary
    from records.synth.dataset import write_dataset as write_dataset
    from records.synth.film import encode_jpeg as encode_jpeg
    from records.synth.film import phantom as phantom

_HOME = {
    'SynthError': 'records.synth.dataset',
    'SynthSummary': 'records.synth.dataset',
    'encode_jpeg': 'records.synth.film',
    'phantom': 'records.synth.film',
    'write_dataset': 'records.synth.dataset',
}
__all__ = ['SynthError', 'SynthSummary', 'encode_jpeg', 'phantom', 'write_dataset']


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_HOME[name]), name)
