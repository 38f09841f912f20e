"""Converts between NumPy arrays and the TensorProto of TF Serving's API, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.api.messages import TensorProto

# TensorFlow's DataType numbers (framework/types.proto).
STRING = 7
_DTYPES: dict[int, Any] = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, 10: np.bool_}
_NUMBERS: dict[Any, int] = {np.dtype(dtype): number for number, dtype in _DTYPES.items()}
_VALUES = {1: 'float_val', 2: 'double_val', 3: 'int_val', 9: 'int64_val'}


class TensorError(ValueError):
    """A tensor that cannot be converted; the text says why."""


def from_strings(values: Sequence[bytes]) -> Any:
    """A TensorProto of dtype string and shape [len(values)]."""
    tensor = TensorProto(dtype=STRING, string_val=values)
    tensor.tensor_shape.dim.add(size=len(values))
    return tensor


def from_array(array: np.ndarray) -> Any:
    """A TensorProto of the dtype and shape of `array`; object arrays hold bytes."""
    if array.dtype == object or array.dtype.kind == 'S':
        tensor = TensorProto(dtype=STRING, string_val=[bytes(value) for value in array.ravel()])
    elif array.dtype in _NUMBERS:
        content = np.ascontiguousarray(array).tobytes()
        tensor = TensorProto(dtype=_NUMBERS[array.dtype], tensor_content=content)
    else:
        raise TensorError(f'dtype {array.dtype} has no TensorProto here')
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def to_array(tensor: Any) -> np.ndarray:
    """The array of a TensorProto; strings become an object array of bytes.

    Raises:
      TensorError: the dtype is not supported, or the values do not fit the shape.
    """
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    count = int(np.prod(shape, dtype=np.int64))
    if tensor.dtype == STRING:
        strings = np.empty(len(tensor.string_val), dtype=object)
        strings[:] = list(tensor.string_val)
        values = strings
    elif tensor.dtype not in _DTYPES:
        raise TensorError(f'dtype {tensor.dtype} is not supported')
    elif tensor.tensor_content:
        dtype: np.dtype = np.dtype(_DTYPES[tensor.dtype])
        if len(tensor.tensor_content) != count * dtype.itemsize:
            raise TensorError(
                f'{len(tensor.tensor_content)} bytes of {dtype.name} do not fill shape {shape}'
            )
        values = np.frombuffer(tensor.tensor_content, dtype)
    else:
        field = _VALUES.get(tensor.dtype)
        if field is None:
            raise TensorError(f'dtype {tensor.dtype} needs tensor_content')
        values = np.array(getattr(tensor, field), dtype=_DTYPES[tensor.dtype])
        if len(values) == 1 and count > 1:  # one value stands for all
            values = np.repeat(values, count)
    if len(values) != count:
        raise TensorError(f'{len(values)} values do not fill shape {shape}')
    return values.reshape(shape)
