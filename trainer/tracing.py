"""Traces functions without AutoGraph, which rewrites their Python code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import tensorflow as tf

_F = TypeVar('_F', bound=Callable)


def without_autograph(function: _F) -> _F:
    """A decorator that keeps AutoGraph out of everything that `function` traces.

    AutoGraph rewrites each Python function so that `if` and `for` may depend on tensors. It skips
    keras, which is on its list of libraries that do not need this, but not tf_keras, although it is
    the same code. For a small network, the rewriting takes most of the time before the first step
    and of an export, and gives the same graph (`benchmarks.tracing`).

    A tf.function without `autograph=False`, such as those of `keras.Model.fit`, turns AutoGraph on
    again. Decorate the functions that it calls, too.
    """
    return cast(_F, tf.autograph.experimental.do_not_convert(function))
