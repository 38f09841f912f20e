"""Decodes compressed pixels with GDCM, in a process of its own.

Damaged pixels can crash such a decoder, or make it run for ever. Here that costs one image: the
process is started anew. `records.dicom.decoder_child` is its code.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from records.dicom import decoder_child
from records.dicom.codestreams import Codestream
from records.dicom.error import damaged

# A decoder takes 10 s for the largest JPEG 2000 image.
_LIMIT_S = 60.0
_DAMAGED = 'the compressed pixels are damaged'


@dataclass
class _Child:
    """A process that decodes one image after another.

    Attributes:
      lock: of its connection.
      owner: the process that started it; a fork of that one needs another.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    owner: int = 0
    process: subprocess.Popen[bytes] | None = None
    connection: Connection | None = None
    # Samples come through a file in memory: a pipe holds 64 kB, and both ends would wait often.
    samples: int = -1

    def decode(self, image: Codestream) -> bytes:
        with self.lock:
            connection = self._start()
            try:
                connection.send((image.kind, image.width, image.height, image.bits, image.content))
                if not connection.poll(_LIMIT_S):
                    raise damaged(f'{_DAMAGED}: decoding takes more than {_LIMIT_S:.0f} s')
                length = connection.recv()
                pixels = os.pread(self.samples, length, 0) if length else b''
            except (EOFError, OSError):
                self._stop()
                raise damaged(_DAMAGED) from None
            except BaseException:
                # An answer that comes later must not be taken for the next one.
                self._stop()
                raise
        if not pixels:
            raise damaged(_DAMAGED)
        return pixels

    def _start(self) -> Connection:
        if self.owner != os.getpid():
            self.process = self.connection = None
            self.samples = os.memfd_create('dicom-samples')
            self.owner = os.getpid()
        if self.process is not None and self.process.poll() is not None:
            self._stop()
        if self.connection is None:
            self.connection, other = multiprocessing.Pipe()
            with other:
                descriptors = [other.fileno(), self.samples]
                self.process = subprocess.Popen(
                    [sys.executable, '-I', decoder_child.__file__, *map(str, descriptors)],
                    pass_fds=descriptors,
                    stdin=subprocess.DEVNULL,
                )
        return self.connection

    def _stop(self) -> None:
        if self.connection is not None:
            self.connection.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = self.connection = None


_child = _Child()


def decode(image: Codestream) -> bytes:
    """The samples of a grey image, row by row: one byte each up to 8 bits, else two.

    Raises:
      DicomError: the pixels are damaged.
    """
    return _child.decode(image)
