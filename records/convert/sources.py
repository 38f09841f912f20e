"""What there is to convert: every image with its id, labels and line of the metadata table, from a class folder tree or the NIH release."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from records.layout import TABLE_COLUMNS
from records.metadata import nih_patient, normal_patient_id, read_table
from trainer.labels import LABELS, NO_FINDING

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')
BY_NAME, BY_PATH = 'name', 'path'

# Names of class folders that mean a label without being its name.
_SYNONYMS = {'normal': NO_FINDING}
_TABLES = ('Data_Entry*.csv', 'Data_Entry*.csv.gz', 'metadata/Data_Entry*.csv', 'metadata/Data_Entry*.csv.gz')


class SourceError(ValueError):
    """Images that cannot be converted as they lie; the text says which and what to do."""


@dataclass(frozen=True)
class Source:
    """One image: its file, its id, its positive labels, and what the metadata table will say of it (column -> text)."""

    path: Path
    image_id: str
    labels: tuple[str, ...]
    table: dict[str, str]


@dataclass
class Listing:
    """What was found.

    Attributes:
      kind: 'class folders' or the path of the NIH table.
      sources: images to convert, in the order of the records to be.
      failed: files (relative to the folder of images) that cannot be converted whatever their pixels -> why.
      ignored: other files, by suffix -> how many.
      left_out: images in folders that --class-map leaves out.
      without_file: rows of the NIH table without an image (part of the release is a usual thing to have).
      own_patient: images whose patient is not known.
    """

    kind: str
    sources: list[Source] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    without_file: int = 0
    own_patient: int = 0


def find_table(images: Path) -> Path | None:
    """The Data_Entry table that lies with the images, if one does.

    Raises:
      SourceError: there are several.
    """
    found = sorted({path for pattern in _TABLES for path in images.glob(pattern)})
    if len(found) > 1:
        raise SourceError(f'{images}: several metadata tables ({", ".join(map(str, found))}): name one with --table')
    return found[0] if found else None


def parse_class_map(entries: list[str]) -> dict[str, tuple[str, ...] | None]:
    """Reads `FOLDER=Label`, `FOLDER=Label|Label`, or `FOLDER=` (leave the folder out: None).

    Raises:
      SourceError: an entry has another form or names no label.
    """
    mapping: dict[str, tuple[str, ...] | None] = {}
    for entry in entries:
        folder, equals, text = entry.partition('=')
        labels = tuple(label_named(name) or name for name in text.split('|')) if text else None
        unknown = [name for name in labels or () if name not in LABELS]
        if not folder or not equals or unknown:
            what = f'no label is called {unknown[0]!r}' if unknown else "expected the form 'FOLDER=Label'"
            raise SourceError(f'--class-map {entry!r}: {what}. Labels are: {", ".join(LABELS)}')
        mapping[folder.casefold()] = labels
    return mapping


def label_named(text: str) -> str | None:
    """The label a name means, whatever its case and with `_`, `-` or a space between words; None when it is none."""
    key = _key(text)
    return _SYNONYMS.get(key) or next((label for label in LABELS if _key(label) == key), None)


def list_class_folders(
    images: Path,
    class_map: Mapping[str, tuple[str, ...] | None],
    patient_pattern: re.Pattern[str] | None,
    ids: str = BY_NAME,
) -> Listing:
    """Lists a tree in which the nearest folder above an image that names a label gives its label.

    Raises:
      SourceError: there are no images, a folder names no label, or two images get the same id.
    """
    listing = Listing('class folders')
    lost: Counter[str] = Counter()
    for path in _images(images, listing):
        folders = [part.casefold() for part in path.relative_to(images).parts[:-1]]
        labels, known = _labels_of(folders, class_map)
        if not known:
            lost[str(path.parent)] += 1
        elif labels is None:
            listing.left_out += 1
        else:
            image_id = _image_id(path, images, ids)
            patient = _patient(path.stem, patient_pattern)
            listing.own_patient += patient is None
            table = {'Finding Labels': '|'.join(labels), 'Patient ID': patient or image_id.removesuffix('.png')}
            listing.sources.append(Source(path, image_id, labels, table))
    if lost:
        named = ', '.join(f'{folder} ({count} images)' for folder, count in sorted(lost.items())[:10])
        raise SourceError(
            f'{len(lost)} folders name no label: {named}. Name them: --class-map FOLDER=Label (FOLDER= leaves one out). '
            f'Labels are: {", ".join(LABELS)}; NORMAL is No Finding'
        )
    return _finished(listing, images)


def list_nih(images: Path, table: Path, ids: str = BY_NAME) -> Listing:
    """Lists the images of the NIH release, wherever they lie under `images`, that `table` names.

    Raises:
      SourceError: there are no images, or two have the same name.
      MetadataError: the table cannot be used.
    """
    entries = read_table(str(table))
    rows = _raw_rows(table)
    listing = Listing(str(table))
    for path in _images(images, listing):
        entry = entries.get(path.name)
        if entry is None:
            listing.failed[path.relative_to(images).as_posix()] = f'the metadata table {table.name} has no line for {path.name}'
            continue
        unknown = [name for name in entry.findings if name not in LABELS]
        if unknown or not entry.findings:
            listing.failed[path.relative_to(images).as_posix()] = (
                f'Finding Labels is {"|".join(entry.findings)!r}: expected names out of {", ".join(LABELS)}'
            )
            continue
        listing.sources.append(Source(path, _image_id(path, images, ids), entry.findings, rows[path.name]))
    found = {source.path.name for source in listing.sources}
    listing.without_file = len(entries.keys() - found)
    return _finished(listing, images)


def _images(images: Path, listing: Listing) -> list[Path]:
    found = []
    for folder, folders, names in os.walk(images, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        for name in sorted(names):
            suffix = Path(name).suffix.lower()
            if suffix in SUFFIXES and not name.startswith('.'):
                found.append(Path(folder, name))
            else:
                listing.ignored[suffix or name] += 1
    if not found:
        seen = ', '.join(f'{count} {suffix}' for suffix, count in sorted(listing.ignored.items())) or 'nothing'
        raise SourceError(f'{images}: no images ({", ".join(SUFFIXES)}) there; found {seen}')
    return found


def _labels_of(folders: list[str], class_map: Mapping[str, tuple[str, ...] | None]) -> tuple[tuple[str, ...] | None, bool]:
    """The labels of the nearest folder that names some (None: left out), and whether there is such a folder."""
    for folder in reversed(folders):
        if folder in class_map:
            return class_map[folder], True
        label = label_named(folder)
        if label:
            return (label,), True
    return None, False


def _patient(stem: str, pattern: re.Pattern[str] | None) -> str | None:
    match = pattern.search(stem) if pattern else None
    if match and match.group(1):
        return normal_patient_id(match.group(1))
    return nih_patient(f'{stem}.png')


def _image_id(path: Path, images: Path, ids: str) -> str:
    if ids == BY_NAME:
        return f'{path.stem}.png'
    return '-'.join(path.relative_to(images).with_suffix('.png').parts)


def _finished(listing: Listing, images: Path) -> Listing:
    seen: dict[str, Path] = {}
    for source in listing.sources:
        other = seen.setdefault(source.image_id, source.path)
        if other != source.path:
            raise SourceError(
                f'{other} and {source.path} would both get the image_id {source.image_id!r}: rename one, '
                f'or use --ids {BY_PATH}, which takes the whole path under {images}'
            )
    # Records of one class or patient should not stand in a row: whoever reads shards in order gets a mixture. By a hash, so that the
    # order depends on nothing but the names.
    listing.sources.sort(key=lambda source: (_digest(source.image_id), source.image_id))
    return listing


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _raw_rows(table: Path) -> dict[str, dict[str, str]]:
    """Image -> the table's line as text, for what is copied as it stands."""
    data = table.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b'\x1f\x8b' else data).decode('utf-8-sig')
    reader = csv.reader(io.StringIO(text))
    header = [name.strip().strip('"').replace('Patient Sex', 'Patient Gender') for name in next(reader)]
    # Mirrors quote the two names that hold a comma; the release does not and has one name more for each.
    header = [part for name in header for part in (name.split(',') if name.startswith('OriginalImage') else [name])]
    places = {name: header.index(name) for name in TABLE_COLUMNS if name in header}
    rows = {}
    for row in reader:
        if row:
            rows[row[places['Image Index']].strip()] = {name: row[place].strip() for name, place in places.items() if place < len(row)}
    return rows


def _key(text: str) -> str:
    return re.sub(r'[\s_-]+', '', text).casefold()
