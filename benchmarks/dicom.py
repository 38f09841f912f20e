"""Reading and rendering DICOM images, compared with pydicom alone.

`python -m benchmarks.dicom` prints images per second for each transfer syntax, and the time
relative to `pydicom.dcmread`, `pixel_array` and `apply_voi_lut`, which decode with GDCM in this
process.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from benchmarks.serving import images
from records import synth
from records.dicom import reader

SYNTAXES = {
    'Explicit VR Little Endian': None,
    'RLE': gdcm.TransferSyntax.RLELossless,
    'JPEG Lossless': gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    'JPEG-LS': gdcm.TransferSyntax.JPEGLSLossless,
    'JPEG 2000 lossless': gdcm.TransferSyntax.JPEG2000Lossless,
}


def _plain(height: int) -> bytes:
    """A radiograph of 12 bits with the noise of a detector."""
    grey = synth.phantom(patient=1, size=height)[:, : height * 5 // 6].astype(float)
    noise = np.random.default_rng(0).normal(0, 6, grey.shape)
    pixels = np.clip(15 * grey + 100 + noise, 0, 4095).astype(np.uint16)
    window = {'WindowCenter': 2048, 'WindowWidth': 4096}
    return images.dicom(pixels, BitsStored=12, HighBit=11, **window)


def encoded(content: bytes, syntax: int | None) -> bytes:
    """A DICOM file in another transfer syntax, a number of GDCM; None for the same."""
    if syntax is None:
        return content
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, 'a.dcm'), Path(folder, 'b.dcm')
        source.write_bytes(content)
        file = gdcm.ImageReader()
        file.SetFileName(str(source))
        assert file.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(file.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(target))
        writer.SetFile(file.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return target.read_bytes()


def _with_reader(content: bytes) -> np.ndarray:
    return reader.read(content).render().pixels


def _with_pydicom(content: bytes) -> np.ndarray:
    dataset = pydicom.dcmread(io.BytesIO(content))
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    return (values / 4095 * 255).astype(np.uint8)


def _seconds(read: Callable[[bytes], np.ndarray], content: bytes, repeats: int) -> float:
    read(content)  # starts the decoder's process
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        read(content)
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else '')
    parser.add_argument('--height', type=int, default=2500, help='pixels (default: 2500)')
    parser.add_argument('--repeats', type=int, default=5, help='of each image (default: 5)')
    args = parser.parse_args()
    plain = _plain(args.height)
    print(f'{"transfer syntax":28} {"images/s":>9} {"relative to pydicom alone":>26}')
    for name, syntax in SYNTAXES.items():
        content = encoded(plain, syntax)
        own, reference = (
            _seconds(read, content, args.repeats) for read in (_with_reader, _with_pydicom)
        )
        print(f'{name:28} {1 / own:9.1f} {own / reference:25.2f}x')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
