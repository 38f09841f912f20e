"""Stores a part of the table of images in a file, which another worker can read."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import fields

import numpy as np
import pyarrow as pa

from components.data_audit.reading import Shard
from components.data_audit.table import Table

_HASHES = ('pixel_hash', 'byte_hash')
_NUMBER = 'number.'  # prefix of the columns in Table.number
_FEATURES = b'features'


def encode(part: Table) -> bytes:
    """Encodes a table as an Arrow stream; the shards are left out."""
    arrays = {
        field.name: getattr(part, field.name)
        for field in fields(Table)
        if field.name not in ('shards', 'number', 'features')
    }
    arrays.update({_NUMBER + name: column for name, column in part.number.items()})
    table = pa.table({name: _to_arrow(name, array) for name, array in arrays.items()})
    table = table.replace_schema_metadata({_FEATURES: json.dumps(sorted(part.features))})
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def decode(data: bytes, shards: Iterable[Shard]) -> Table:
    """Decodes what `encode` returned.

    Args:
      data: an Arrow stream.
      shards: the files of the records, and others if there are any.
    """
    table = pa.ipc.open_stream(data).read_all()
    arrays = {name: _to_numpy(table[name].combine_chunks()) for name in table.column_names}
    return Table(
        shards={shard.number: shard for shard in shards},
        number={
            name.removeprefix(_NUMBER): arrays.pop(name)
            for name in table.column_names
            if name.startswith(_NUMBER)
        },
        features=frozenset(json.loads(table.schema.metadata[_FEATURES])),
        **arrays,
    )


def _to_arrow(name: str, array: np.ndarray) -> pa.Array:
    if array.dtype == object:
        return pa.array(array, pa.binary() if name in _HASHES else pa.string())
    if array.ndim == 1:
        return pa.array(array)
    # Nested lists of fixed sizes, such as a list of 48 lists of 48 pixels.
    column = pa.array(array.reshape(-1))
    for size in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def _to_numpy(column: pa.Array) -> np.ndarray:
    shape = [len(column)]
    while pa.types.is_fixed_size_list(column.type):
        shape.append(column.type.list_size)
        column = column.flatten()
    # Arrow packs booleans into bits and has no NumPy view of texts; the rest is not copied.
    return column.to_numpy(zero_copy_only=False).reshape(shape)
