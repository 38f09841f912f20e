"""Checks a folder of DICOM or other images: what `convert` would make of each file."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from records.convert import heads
from records.convert.convert import convert_files
from records.convert.pixels import SQUASH
from records.convert.sources import SUFFIXES, Failure, Listing, SourceError
from records.parallel import ordered_map

# The pixels are looked at and not kept, so the smallest records will do.
_SIDE = 64
_CHUNK = 8


@dataclass
class ImageAudit:
    """What `convert` would make of the files.

    Attributes:
      dicom, others: DICOM files and other images that it would accept.
      noted: how many of the DICOM files it would accept with a note.
      notes: note -> number of files.
      failed: file -> why it would refuse it.
      ignored: type of file -> number of files that are not images.
      decoded: whether the pixels were decoded too, and not only the headers of DICOM files read.
    """

    dicom: int = 0
    others: int = 0
    noted: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    failed: dict[str, Failure] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    decoded: bool = False

    @property
    def accepted(self) -> int:
        """All images that `convert` would accept."""
        return self.dicom + self.others

    def reasons(self) -> dict[str, list[str]]:
        """Reason -> the files that are refused for it, the most frequent reason first."""
        files: dict[str, list[str]] = {}
        for file in sorted(self.failed):
            files.setdefault(self.failed[file].reason, []).append(file)
        return dict(sorted(files.items(), key=lambda item: -len(item[1])))

    def as_dict(self) -> dict[str, object]:
        """All of it, for a report."""
        return {
            'clean': not self.failed,
            'images': self.accepted + len(self.failed),
            'accepted': self.accepted,
            'dicom': self.dicom,
            'other_images': self.others,
            'with_notes': self.noted,
            'decoded': self.decoded,
            'notes': dict(self.notes.most_common()),
            'refused': [{'file': file, **vars(self.failed[file])} for file in sorted(self.failed)],
            'ignored_files': dict(sorted(self.ignored.items())),
        }


def check(
    images: Path,
    *,
    pixels: bool,
    workers: int,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> ImageAudit:
    """Checks images as `convert --labels` does, without labels.

    Args:
      images: a folder, or a DICOMDIR, whose files are read.
      pixels: whether to decode every image, too.
      workers: processes.
      advance: called with how many images are done, of how many.

    Raises:
      SourceError: there is no image.
      OSError: a folder cannot be listed.
    """
    listing = Listing('')
    folder = images.parent if images.is_file() else images
    names = heads.find(images, listing)
    audit = ImageAudit(failed=listing.failed, ignored=listing.ignored, decoded=pixels)
    accepted: dict[str, heads.Head] = {}
    for name, head in zip(names, heads.read(folder, names, workers), strict=True):
        if not head.is_image:
            audit.ignored[heads.NOT_AN_IMAGE] += 1
        elif head.failure:
            audit.failed[name] = head.failure
        else:
            accepted[name] = head
    if not accepted and not audit.failed:
        raise SourceError(f'{images}: no DICOM files and no images ({", ".join(SUFFIXES)})')
    if pixels:
        for name, failure in _decode(folder, list(accepted), workers, advance).items():
            audit.failed[name] = failure
            del accepted[name]
    for head in accepted.values():
        audit.dicom += head.said is not None
        audit.others += head.said is None
        audit.noted += bool(head.notes)
        audit.notes.update(head.notes)
    return audit


def _decode(
    folder: Path, names: Sequence[str], workers: int, advance: Callable[[int, int], None]
) -> dict[str, Failure]:
    """The images that cannot be decoded, and why."""
    chunks = [names[begin : begin + _CHUNK] for begin in range(0, len(names), _CHUNK)]
    paths = ([folder / name for name in chunk] for chunk in chunks)
    convert = functools.partial(convert_files, size=_SIDE, fit=SQUASH)
    failed, done = {}, 0
    for chunk, results in zip(
        chunks, ordered_map(convert, paths, min(workers, len(chunks))), strict=True
    ):
        for name, result in zip(chunk, results, strict=True):
            if isinstance(result, Failure):
                failed[name] = result
        done += len(chunk)
        advance(done, len(names))
    return failed
