"""Finds image files, and reads one as the model reads it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from records import walking
from serving import uploads
from serving.image_formats import dicom
from serving.image_formats.error import UploadError

# Files with another name are recognised by their first bytes: DICOM files often have no suffix.
_SUFFIXES = ('.png', '.jpg', '.jpeg', '.dcm', '.dicom')
_HEAD_BYTES = dicom.PREAMBLE + len(dicom.MAGIC)
# The table of contents of a DICOM disc begins like an image.
_CONTENTS = 'DICOMDIR'
# Twice as many as an uncompressed DICOM image of the most pixels has. A request to a model server
# must stay below 256 MiB.
_MAX_BYTES = 250 << 20


class FilesError(ValueError):
    """A path does not exist, or there is no image; the text says which and what to do."""


@dataclass
class Listing:
    """The files to score, in the order given, those of a folder by name.

    Attributes:
      files: paths, each once.
      ignored: type of file -> number of files in folders that are not images.
    """

    files: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def find(paths: Sequence[str]) -> Listing:
    """Lists the given files, and the images in the given folders at any depth.

    Raises:
      FilesError: a path does not exist, or there is no image.
      OSError: a folder cannot be listed.
    """
    listing = Listing()
    for path in paths:
        if os.path.isdir(path):
            for file in walking.walk(path).files:
                name = os.path.join(path, file.name)
                if _is_image(name):
                    listing.files.append(name)
                else:
                    listing.ignored[walking.file_type(name)] += 1
        elif os.path.isfile(path):
            listing.files.append(path)
        else:
            raise FilesError(f'{path}: no such file or folder. Give PNG, JPEG or DICOM files')
    listing.files = list(dict.fromkeys(listing.files))
    if not listing.files:
        ignored = walking.format_counts(listing.ignored)
        raise FilesError(
            f'{", ".join(paths)}: there is no PNG, JPEG or DICOM image'
            + (f', only other files: {ignored}' if ignored else '')
        )
    return listing


def read(path: str) -> bytes:
    """The PNG or JPEG that the model reads; a DICOM image becomes a PNG.

    Raises:
      UploadError: it is not an image, or a DICOM image that cannot be shown.
      OSError: it cannot be read.
    """
    return read_with_notes(path)[0]


def read_with_notes(path: str) -> tuple[bytes, tuple[str, ...]]:
    """As `read`, and what a reader of the scores should know about the file, sentences.

    Raises:
      UploadError, OSError: as for `read`.
    """
    if (size := os.path.getsize(path)) > _MAX_BYTES:
        raise UploadError(f'the file has {size:,} bytes, more than the limit of {_MAX_BYTES:,}')
    content = Path(path).read_bytes()
    checked = uploads.check(content)
    return uploads.to_model_input(content, checked.kind), checked.notes


def _is_image(path: str) -> bool:
    if path.lower().endswith(_SUFFIXES):
        return True
    if os.path.basename(path) == _CONTENTS:
        return False
    try:
        with open(path, 'rb') as file:
            uploads.kind_of(file.read(_HEAD_BYTES))
    except (UploadError, OSError):
        return False
    return True
