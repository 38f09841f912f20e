"""The error of a file that cannot be accepted."""

from __future__ import annotations


class UploadError(ValueError):
    """A file that cannot be accepted; the text says why, and has nothing out of a DICOM header."""
