"""Reads a DICOM radiograph: checks its header against the rules, then its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import pydicom

from records.dicom import display, header, rules
from records.dicom.display import Rendering
from records.dicom.error import damaged
from schemas.image_status import MAX_PIXELS


@dataclass(frozen=True)
class Radiograph:
    """A file that the rules accept.

    Attributes:
      dataset: with its pixels, still encoded.
      notes: what the rules say about it, sentences.
    """

    dataset: pydicom.Dataset
    notes: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.dataset.Columns), int(self.dataset.Rows)

    def render(self, center: float | None = None, width: float | None = None) -> Rendering:
        """The image as a viewer shows it; see `records.dicom.display.render`.

        Raises:
          DicomError: the pixels are damaged.
        """
        return display.render(self.dataset, center, width)


def read(content: bytes) -> Radiograph:
    """Reads a DICOM file up to its pixels, which are not decoded.

    Example:
        >>> read(Path('image.dcm').read_bytes()).render().pixels.shape
        (2500, 2048)

    Raises:
      DicomError: it cannot be read, or a rule refuses it; the text names the attribute.
    """
    head = header.read_header(content)
    notes = rules.check(head)
    dataset = header.read_all(content, _pixel_bytes(head))
    if 'PixelData' not in dataset:
        raise damaged('PixelData (7FE0,0010) is missing')
    return Radiograph(dataset, notes)


def _pixel_bytes(head: pydicom.Dataset) -> int:
    """How many bytes the pixels take, at most, by a header that the rules accept."""
    pixels = min(int(head.Rows) * int(head.Columns), MAX_PIXELS)
    return pixels * int(head.BitsAllocated) // 8
