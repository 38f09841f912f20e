"""DICOM files, as the project's one reader reads them (`records.dicom`)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from records.dicom import deidentify, reader, views
from records.dicom.display import Rendering
from records.dicom.error import DicomError
from records.dicom.header import MAGIC, PREAMBLE
from serving.image_formats.error import UploadError

__all__ = ['MAGIC', 'PREAMBLE', 'describe', 'render', 'view', 'without_metadata']

# An image of the largest size takes half a gigabyte while it is decoded.
_DECODING = threading.BoundedSemaphore(2)


@contextlib.contextmanager
def _as_upload_error() -> Iterator[None]:
    try:
        yield
    except DicomError as error:
        raise UploadError(str(error)) from None


def describe(content: bytes) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Width and height by the header, and what a reader of the image should know, sentences.

    Raises:
      UploadError: the file is not a single grey frontal radiograph that can be decoded here.
    """
    with _as_upload_error():
        radiograph = reader.read(content)
        return radiograph.size, radiograph.notes


def view(content: bytes) -> str:
    """'PA', 'AP', or '' if the file does not say.

    Raises:
      UploadError: as `describe`.
    """
    with _as_upload_error():
        return views.view_position(reader.read(content).dataset)


def without_metadata(content: bytes) -> bytes:
    """The file with `records.dicom.deidentify.TAGS` alone.

    Raises:
      UploadError: values in it are damaged.
    """
    with _as_upload_error():
        return deidentify.stripped(reader.read(content).dataset)


def render(content: bytes, center: float | None = None, width: float | None = None) -> Rendering:
    """Decodes and windows a DICOM image; see `records.dicom.display.render`.

    Raises:
      UploadError: the pixels cannot be read.
    """
    with _as_upload_error(), _DECODING:
        return reader.read(content).render(center, width)
