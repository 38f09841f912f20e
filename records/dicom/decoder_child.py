"""The process that decodes compressed pixels: `python decoder_child.py CONNECTION FILE`.

It runs as a script, and imports GDCM and nothing of the project, so that it starts quickly.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from multiprocessing.connection import Connection

# The largest image takes a fifth of this; more is a damaged one.
_MAX_MEMORY = 4 << 30
# What the decoders print about pixels that they fill in.
_COMPLAINTS = (b'Corrupt', b'Premature', b'premature', b'Bogus')
_SYNTAXES = {
    'JPEG': 'JPEGExtendedProcess2_4',
    'JPEG Lossless': 'JPEGLosslessProcess14',
    'JPEG-LS': 'JPEGLSLossless',
    'JPEG 2000': 'JPEG2000Lossless',
}
_PIXEL_DATA = (0x7FE0, 0x0010)


def serve(connection: Connection, file: int) -> None:
    """Decodes what arrives until the other end closes.

    It writes the samples of an image to the descriptor `file`, and answers with their number of
    bytes: 0 for a damaged image.
    """
    # Ctrl-C is for the parent, which closes the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryFile() as printed:
        for descriptor in (1, 2):
            os.dup2(printed.fileno(), descriptor)
        while True:
            try:
                job = connection.recv()
            except EOFError:
                return
            os.ftruncate(printed.fileno(), 0)
            os.lseek(printed.fileno(), 0, os.SEEK_SET)
            pixels = _decoded(*job)
            complaints = os.pread(printed.fileno(), 1 << 16, 0)
            is_damaged = any(word in complaints for word in _COMPLAINTS)
            os.ftruncate(file, 0)
            length = 0
            while not is_damaged and pixels and length < len(pixels):
                length += os.pwrite(file, memoryview(pixels)[length:], length)
            connection.send(length)


def _decoded(kind: str, width: int, height: int, bits: int, content: bytes) -> bytes | None:
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(content)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(*_PIXEL_DATA))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((width, height, 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.GetPIType('MONOCHROME2')
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, _SYNTAXES[kind])))
    container = 8 if bits <= 8 else 16
    image.SetPixelFormat(gdcm.PixelFormat(1, container, bits, bits - 1, 0))
    try:
        # It hands bytes over as text.
        samples = image.GetBuffer().encode('utf-8', 'surrogateescape')
    except (RuntimeError, ValueError, MemoryError, SystemError, UnicodeError):
        return None
    return samples if len(samples) == width * height * container // 8 else None


if __name__ == '__main__':
    serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
