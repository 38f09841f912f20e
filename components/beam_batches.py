"""Sets the size and the encoding of the batches of examples in TFX's Beam steps."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa
from absl import flags

BATCH_BYTES = 4 << 20


class RecordBatchCoder(beam.coders.Coder):
    """Encodes batches in Arrow's stream format, as TFX does, and knows their size without encoding.

    Beam often asks for the size of elements, for its statistics. TFDV's coder encodes a batch each
    time. With batches of 20 MiB, this takes a quarter of the Evaluator's time outside the model.
    """

    def encode(self, value: pa.RecordBatch) -> bytes:
        """The batch and its schema in Arrow's stream format."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """The batch that `encode` encoded."""
        return pa.ipc.open_stream(encoded).read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """The size of the columns in bytes."""
        return value.nbytes

    def to_type_hint(self) -> type:
        """The type of the elements."""
        return pa.RecordBatch


def prepare() -> None:
    """Makes this process build TFX's Beam pipelines with batches of 4 MiB and `RecordBatchCoder`.

    4 MiB are about 60 images. By default, Beam adapts the number of examples in a batch, up to a
    thousand, and the memory of a step grows with the number of images: a thousand images are 70 MB,
    and a step holds several copies. With tfx_bsl's own size, 20 MiB, the Evaluator takes half a
    gigabyte more and is no faster.
    """
    # Import first: it registers TFDV's coder, and Beam uses the coder that is registered last.
    import tensorflow_data_validation.types  # noqa: F401
    from tfx_bsl.coders import batch_util

    # tfx_bsl has no public setting for this and reads the constant when a pipeline is built.
    batch_util._TARGET_BATCH_BYTES_SIZE = BATCH_BYTES
    beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)
    if not flags.FLAGS.is_parsed():
        # absl ignores flags until they are parsed, and this program does not parse them with absl.
        flags.FLAGS.mark_as_parsed()
    flags.FLAGS.tfxio_use_byte_size_batching = True
