"""The error of a DICOM file that is not accepted."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from records.images import ImageError
from schemas.image_status import UNDECODABLE, UNSUPPORTED

HEADER_UNREADABLE = 'the DICOM header cannot be read'


class DicomError(ImageError):
    """A DICOM file that is not accepted; the text says why, and has no patient data in it."""


def damaged(reason: str) -> DicomError:
    """The error of a file that cannot be decoded."""
    return DicomError(UNDECODABLE, reason)


def unsupported(reason: str) -> DicomError:
    """The error of a file that a rule refuses."""
    return DicomError(UNSUPPORTED, reason)


@contextlib.contextmanager
def reading(failure: str) -> Iterator[None]:
    """Makes a DicomError of whatever pydicom and NumPy raise on a damaged file.

    Args:
      failure: the text of that error. The text of the library could contain a value of the header.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    except DicomError:
        raise
    except Exception:  # noqa: BLE001 - damaged values make a library raise almost anything
        raise damaged(failure) from None
