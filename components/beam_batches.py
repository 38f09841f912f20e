"""How TFX's Beam steps hold and hand on batches of examples."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa
from absl import flags

BATCH_BYTES = 4 << 20


class RecordBatchCoder(beam.coders.Coder):
    """Arrow's stream format, as TFX has it, with a size that is not found out by encoding.

    Beam asks for the size of elements again and again, for its statistics. The coder of TFDV
    encodes a batch for that: with batches of 20 MiB this takes a quarter of what the Evaluator does
    beside asking the model.
    """

    def encode(self, value: pa.RecordBatch) -> bytes:
        """The batch with its schema."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """The batch."""
        return pa.ipc.open_stream(encoded).read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Bytes of its columns."""
        return value.nbytes

    def to_type_hint(self) -> type:
        """What it is for."""
        return pa.RecordBatch


def prepare() -> None:
    """Prepares this process for building TFX's Beam pipelines: batches are cut by bytes, and have
    the coder above.

    Batches: at 4 MiB, some 60 films. By default Beam finds out how many examples are worth a batch,
    up to a thousand: the more, the faster the step and the longer the run. A thousand films are 70
    MB, of which a step holds several copies: its memory would grow with the number of films.
    tfx_bsl's own size, 20 MiB, lets the Evaluator hold half a gigabyte more and makes it no faster.
    """
    # Whoever registers last is taken: this one registers TFDV's coder.
    import tensorflow_data_validation.types  # noqa: F401
    from tfx_bsl.coders import batch_util

    # Read when a pipeline is built; there is no setting for it.
    batch_util._TARGET_BATCH_BYTES_SIZE = BATCH_BYTES
    beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)
    if not flags.FLAGS.is_parsed():
        # The flag counts only then; this program's own command line is not absl's.
        flags.FLAGS.mark_as_parsed()
    flags.FLAGS.tfxio_use_byte_size_batching = True
