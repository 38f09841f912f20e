"""Graphs of functions as they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import tensorflow as tf

_F = TypeVar('_F', bound=Callable)


def as_it_stands(function: _F) -> _F:
    """A decorator: AutoGraph stays out of layers, metrics, functions over a tf.data.Dataset and
    exports that `function` traces.

    AutoGraph rewrites each Python function that it meets, so that `if` and `for` may depend on
    tensors. It leaves keras alone, which is on its list of libraries that have no need of it, but
    not tf_keras, which is the same code and not on that list: for a small network most of the time
    before the first step and of an export goes there, for the same graph (`benchmarks.tracing`).

    A tf.function that does not say `autograph=False` turns it on again for what it calls, as those
    of `keras.Model.fit` do: what is called there has to be decorated too.
    """
    return cast(_F, tf.autograph.experimental.do_not_convert(function))
