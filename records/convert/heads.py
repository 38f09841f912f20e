"""Finds DICOM and other image files, and reads what their headers say."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom

from records import walking
from records.convert.sources import SUFFIXES, Failure, Listing, SourceError
from records.dicom import attributes, header, rules
from records.dicom.attributes import Attributes
from records.dicom.error import HEADER_UNREADABLE, DicomError, reading
from records.parallel import ordered_map
from schemas import problem_names as problems

CONTENTS = 'DICOMDIR'
NOT_AN_IMAGE = 'other files'
_HEADER_BYTES = 1 << 20
# Headers per task of a worker, which take half a second.
_CHUNK = 64


@dataclass(frozen=True)
class Head:
    """What the beginning of a file shows.

    Attributes:
      is_image: whether it is one, or could be.
      said: what a DICOM header says; None without one.
      notes: what the rules note about a DICOM header that they accept, sentences.
      failure: why the file cannot be used; None if it can.
    """

    is_image: bool = True
    said: Attributes | None = None
    notes: tuple[str, ...] = ()
    failure: Failure | None = None


def unzipped(archive: Path, folder: Path) -> None:
    """Unpacks a ZIP file.

    Raises:
      SourceError: it is damaged, encrypted, or larger than the space that is left.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            needed = sum(entry.file_size for entry in content.infolist())
            free = shutil.disk_usage(folder).free
            if needed > free:
                raise SourceError(
                    f'{archive}: its files take {needed:,} bytes, and {folder} has {free:,}. Set '
                    'TMPDIR to a folder with more space'
                )
            content.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise SourceError(f'{archive}: not a ZIP file that can be read ({error})') from None


def find(images: Path, listing: Listing) -> list[str]:
    """The files under a folder, or those that a DICOMDIR lists; names relative to its folder.

    What is not read is counted in `listing.ignored`, what cannot be read is in `listing.failed`.

    Raises:
      SourceError: the DICOMDIR cannot be read.
      OSError: a folder cannot be listed.
    """
    if images.is_file():
        return _of_contents(images, listing)
    walk = walking.walk(str(images))
    counts = (('hidden', walk.hidden), ('links to other files here', len(walk.repeated)))
    listing.ignored.update({kind: count for kind, count in counts if count})
    for name, what in walk.special.items():
        listing.failed[name] = Failure(problems.UNREADABLE_FILE, f'{what}, expected a regular file')
    return [file.name for file in walk.files if Path(file.name).name.upper() != CONTENTS]


def _of_contents(path: Path, listing: Listing) -> list[str]:
    """The files that a DICOMDIR lists."""
    try:
        records = pydicom.dcmread(path).DirectoryRecordSequence
    except Exception:  # noqa: BLE001 - what a damaged file makes a library raise
        raise SourceError(f'{path}: not a DICOMDIR that can be read') from None
    names = []
    for record in records:
        parts = record.get('ReferencedFileID')
        if not parts:
            continue
        name = '/'.join([parts] if isinstance(parts, str) else parts)
        inside = (path.parent / name).resolve().is_relative_to(path.parent.resolve())
        if inside and (path.parent / name).is_file():
            names.append(name)
        else:
            reason = 'the DICOMDIR lists it, but it is missing'
            listing.failed[name] = Failure(problems.UNREADABLE_FILE, reason)
    return sorted(set(names))


def read(folder: Path, names: list[str], workers: int) -> Iterator[Head]:
    """Reads the beginnings of files, in processes, in the order of `names`."""
    chunks = [names[begin : begin + _CHUNK] for begin in range(0, len(names), _CHUNK)]
    paths = ([folder / name for name in chunk] for chunk in chunks)
    for heads in ordered_map(_read_heads, paths, min(workers, len(chunks))):
        yield from heads


def _read_heads(paths: list[Path]) -> list[Head]:
    return [_read_head(path) for path in paths]


def _read_head(path: Path) -> Head:
    try:
        with path.open('rb') as file:
            head = file.read(_HEADER_BYTES + 1)
        if header.is_dicom(head):
            dataset = header.read_header(head)
            notes = rules.check(dataset)
            with reading(HEADER_UNREADABLE):
                return Head(said=attributes.read(dataset), notes=notes)
    except DicomError as error:
        return Head(failure=Failure(error.kind, str(error)))
    except OSError as error:
        reason = f'it cannot be read: {error.strerror or error}'
        return Head(failure=Failure(problems.UNREADABLE_FILE, reason))
    suffix = path.suffix.lower()
    if suffix in ('.dcm', '.dicom'):
        reason = 'it has no DICM after its first 128 bytes'
        return Head(failure=Failure(problems.UNSUPPORTED_FILE, reason))
    return Head(is_image=suffix in SUFFIXES)
