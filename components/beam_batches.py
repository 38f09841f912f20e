"""How much of a file TFX's Beam steps hold at a time."""

from __future__ import annotations

from absl import flags


def bound() -> None:
    """Makes the readers of TFX's components cut batches by bytes, at 20 MiB, some 300 films; holds for this process.

    By default Beam finds out how many examples are worth a batch, up to a thousand: the more, the faster the step and the longer the run.
    A thousand films are 70 MB, of which a step holds several copies: its memory would grow with the number of films.
    """
    # Defines the flag.
    from tfx_bsl.coders import batch_util  # noqa: F401

    if not flags.FLAGS.is_parsed():
        # The flag counts only then; this program's own command line is not absl's.
        flags.FLAGS.mark_as_parsed()
    flags.FLAGS.tfxio_use_byte_size_batching = True
