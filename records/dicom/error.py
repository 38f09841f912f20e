"""The error of a DICOM file that is not accepted."""

from __future__ import annotations

from records.images import ImageError
from schemas.image_status import UNDECODABLE, UNSUPPORTED


class DicomError(ImageError):
    """A DICOM file that is not accepted; the text says why, and has no patient data in it."""


def damaged(reason: str) -> DicomError:
    """The error of a file that cannot be decoded."""
    return DicomError(UNDECODABLE, reason)


def unsupported(reason: str) -> DicomError:
    """The error of a file that a rule refuses."""
    return DicomError(UNSUPPORTED, reason)
