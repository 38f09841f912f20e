"""Lists the images to convert, from class folders or the NIH release.

Each image gets its id, its labels and its row of the metadata table.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from records import side_files, spelling, walking
from records.layout import LISTS, TABLE_COLUMNS
from records.metadata import nih_patient, read_cells, read_list, read_table
from records.terminal import printable
from schemas import problem_names as problems
from schemas.labels import LABELS

SUFFIXES = ('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.bmp', '.tif', '.tiff')
BY_NAME, BY_PATH = 'name', 'path'

# Images and volumes that are not read. DICOM files often have no suffix, or a number as suffix.
_OTHER_IMAGES = (
    *(
        '.dcm',
        '.dicom',
        '.dic',
        '.ima',
        '.gif',
        '.webp',
        '.jp2',
        '.j2k',
        '.jpx',
        '.heic',
        '.heif',
        '.avif',
    ),
    *('.pgm', '.ppm', '.nii', '.nii.gz', '.nrrd', '.mha', '.mhd'),
)
_DICOM_MARK, _DICOM_MARK_AT = b'DICM', 128
_DICOM = 'it is a DICOM file, which is read only with a label table: use --labels'


class SourceError(ValueError):
    """Images that cannot be converted; the text says which and what to do."""


@dataclass(frozen=True)
class Failure:
    """Why an image cannot be converted: the name of the problem, and the reason."""

    kind: str
    reason: str


@dataclass(frozen=True)
class Source:
    """One image to convert.

    Attributes:
      path: its file.
      image_id: its id in the records.
      labels: its positive labels.
      table: its row in the new metadata table, heading -> text.
      weight: how many images it stands for; None if it is no part of a sample.
    """

    path: Path
    image_id: str
    labels: tuple[str, ...]
    table: dict[str, str]
    weight: float | None = None


@dataclass
class Listing:
    """The images of a folder.

    Attributes:
      kind: 'class folders' or the path of the NIH table.
      sources: images to convert, in the order of the records.
      failed: files (relative to the folder of images) that cannot be converted -> why.
      ignored: type of file -> number of other files.
      lists: official split lists beside the images, a name of layout.LISTS -> image ids.
      problems: problems of the metadata table.
      left_out: number of images in folders that --class-map leaves out.
      without_file: number of rows of the NIH table without an image; people often have a part of
        the release.
      own_patient: number of images whose patient is unknown.
      private: whether names of files may identify patients, and are not to be kept.
    """

    kind: str
    sources: list[Source] = field(default_factory=list)
    failed: dict[str, Failure] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    lists: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    left_out: int = 0
    without_file: int = 0
    own_patient: int = 0
    private: bool = False


def find_table(images: Path) -> Path | None:
    """The Data_Entry table beside the images; None without one.

    Raises:
      DataRootError: there are several.
    """
    name = side_files.find(side_files.TABLE, str(images), _names(images), option='--table')
    return images / name if name else None


def parse_class_map(entries: list[str]) -> dict[str, tuple[str, ...] | None]:
    """Reads `FOLDER=Label`, `FOLDER=Label|Label`, or `FOLDER=` (None: leave the folder out).

    Raises:
      SourceError: an entry has another form, or a name that is not a label.
    """
    mapping: dict[str, tuple[str, ...] | None] = {}
    for entry in entries:
        folder, equals, text = entry.partition('=')
        labels = tuple(spelling.label(name) or name for name in text.split('|')) if text else None
        unknown = [name for name in labels or () if name not in LABELS]
        if not folder or not equals or unknown:
            what = (
                f'{unknown[0]!r} is not a label' if unknown else "expected the form 'FOLDER=Label'"
            )
            raise SourceError(f'--class-map {entry!r}: {what}. The labels are: {", ".join(LABELS)}')
        mapping[folder.casefold()] = labels
    return mapping


def list_class_folders(
    images: Path,
    class_map: Mapping[str, tuple[str, ...] | None],
    patient_pattern: re.Pattern[str] | None,
    ids: str = BY_NAME,
) -> Listing:
    """Lists a folder tree. The nearest folder with the name of a label gives an image its label.

    Raises:
      SourceError: there are no images, a folder gives no label, or two images get the same id.
    """
    listing = Listing('class folders')
    unlabelled: Counter[str] = Counter()
    for path in _images(images, listing):
        folders = [part.casefold() for part in path.relative_to(images).parts[:-1]]
        labels, is_named = _labels_of(folders, class_map)
        if not is_named:
            unlabelled[str(path.parent)] += 1
        elif labels is None:
            listing.left_out += 1
        else:
            image_id = _image_id(path, images, ids)
            patient = _patient(path.stem, patient_pattern)
            listing.own_patient += patient is None
            table = {
                'Finding Labels': '|'.join(labels),
                'Patient ID': patient or image_id.removesuffix('.png'),
            }
            listing.sources.append(Source(path, image_id, labels, table))
    if unlabelled:
        listed = ', '.join(
            f'{folder} ({count} images)' for folder, count in sorted(unlabelled.items())[:10]
        )
        raise SourceError(
            f'{len(unlabelled)} folders do not have the name of a label: {listed}. Give their '
            'labels with --class-map FOLDER=Label (FOLDER= leaves a folder out). The labels are: '
            f'{", ".join(LABELS)}; NORMAL is No Finding'
        )
    return finished(listing, images)


def list_nih(images: Path, table: Path, ids: str = BY_NAME) -> Listing:
    """Lists the images of the NIH release under `images` that `table` names.

    Raises:
      SourceError: there are no images, or two have the same name.
      MetadataError: the table cannot be used.
    """
    entries = read_table(str(table))
    rows = read_cells(str(table), TABLE_COLUMNS)
    listing = Listing(str(table), problems=[str(problem) for problem in entries.problems])
    used = set()
    for path in _images(images, listing, table):
        name = entries.spelled(path.name)
        if name is None:
            listing.failed[path.relative_to(images).as_posix()] = Failure(
                problems.NOT_IN_METADATA,
                f'the metadata table {table.name} has no row for {path.name}',
            )
            continue
        entry = entries[name]
        if entry.unknown_findings or not entry.findings:
            listing.failed[path.relative_to(images).as_posix()] = Failure(
                problems.UNKNOWN_LABEL,
                f'Finding Labels is {rows[name]["Finding Labels"]!r}: expected names from '
                f'{", ".join(LABELS)}',
            )
            continue
        used.add(name)
        row = {**rows[name], 'Finding Labels': '|'.join(entry.findings)}
        listing.sources.append(Source(path, _image_id(path, images, ids), entry.findings, row))
    listing.without_file = len(entries) - len(used)
    return finished(listing, images)


def _names(images: Path) -> list[str]:
    return [file.name for file in walking.walk(str(images)).files]


def _images(images: Path, listing: Listing, table: Path | None = None) -> list[Path]:
    """The images, each real file once.

    Other files are counted in `listing.ignored`, or are failures if they may hold an image.
    """
    walk = walking.walk(str(images))
    names = [file.name for file in walk.files]
    lists = _find_lists(images, names, table)
    used = {
        path.relative_to(images).as_posix()
        for path in (table, *lists.values())
        if path and path.is_relative_to(images)
    }
    paths = []
    for name in names:
        suffix = walking.file_type(name)
        reason = _unusable_name(name)
        if suffix in SUFFIXES and not reason:
            paths.append(images / name)
        elif suffix in SUFFIXES:
            listing.failed[printable(name)] = Failure(problems.UNUSABLE_NAME, reason)
        elif name not in used:
            failure = _other_image(images / name, suffix)
            if failure:
                listing.failed[printable(name)] = failure
            else:
                listing.ignored[suffix] += 1
    for name, what in walk.special.items():
        if walking.file_type(name) in SUFFIXES:
            listing.failed[printable(name)] = Failure(
                problems.UNREADABLE_FILE, f'{what}, expected a regular file'
            )
        else:
            listing.ignored['not regular files'] += 1
    counts = (('hidden', walk.hidden), ('links to other files here', len(walk.repeated)))
    listing.ignored.update({kind: count for kind, count in counts if count})
    if not paths:
        types = walking.format_counts(walking.count_types(names)) or 'nothing'
        first = next(iter(listing.failed.items()), None)
        more = f'. {first[0]}: {first[1].reason}' if first else ''
        raise SourceError(
            f'{images}: no images ({", ".join(SUFFIXES)}); the folder has {types}{more}'
        )
    listing.lists = {name: sorted(read_list(str(path))) for name, path in lists.items()}
    return paths


def _find_lists(images: Path, names: list[str], table: Path | None) -> dict[str, Path]:
    """The official split lists beside the images, otherwise in the folder of the table."""
    lists = {}
    beside = table.parent if table else images
    for kind, name in zip(side_files.LISTS, LISTS, strict=True):
        path = side_files.find(kind, str(images), names, option='its usual name')
        if path:
            lists[name] = images / path
        elif path := side_files.find(
            kind, str(beside), (file.name for file in beside.iterdir()), option='its usual name'
        ):
            lists[name] = beside / path
    return lists


def _unusable_name(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        return 'its name or that of its folder is not UTF-8: rename it'
    return (
        'its name or that of its folder has a line break: rename it'
        if re.search('[\r\n]', name)
        else ''
    )


def _other_image(path: Path, suffix: str) -> Failure | None:
    """Why a file that may hold an image is not read; None for files that hold none."""
    try:
        with path.open('rb') as file:
            file.seek(_DICOM_MARK_AT)
            if file.read(len(_DICOM_MARK)) == _DICOM_MARK:
                return Failure(problems.UNSUPPORTED_FILE, _DICOM)
    except OSError as error:
        return Failure(problems.UNREADABLE_FILE, f'it cannot be read: {error.strerror or error}')
    if suffix in _OTHER_IMAGES:
        return Failure(
            problems.UNSUPPORTED_FILE,
            f'{suffix} files are not read: save the image as PNG, JPEG, TIFF or BMP',
        )
    return None


def _labels_of(
    folders: list[str], class_map: Mapping[str, tuple[str, ...] | None]
) -> tuple[tuple[str, ...] | None, bool]:
    """The labels of the nearest folder that has some, and whether there is such a folder.

    The labels are None if --class-map leaves the folder out.
    """
    for folder in reversed(folders):
        if folder in class_map:
            return class_map[folder], True
        label = spelling.label(folder)
        if label:
            return (label,), True
    return None, False


def _patient(stem: str, pattern: re.Pattern[str] | None) -> str | None:
    match = pattern.search(stem) if pattern else None
    if match and match.group(1):
        return spelling.patient(match.group(1))
    return nih_patient(f'{stem}.png')


def _image_id(path: Path, images: Path, ids: str) -> str:
    if ids == BY_NAME:
        return f'{path.stem}.png'
    return '-'.join(path.relative_to(images).with_suffix('.png').parts)


def finished(listing: Listing, images: Path) -> Listing:
    """The listing in the order of the records.

    Raises:
      SourceError: two images have the same image_id.
    """
    paths: dict[str, Path] = {}
    for source in listing.sources:
        other = paths.setdefault(source.image_id, source.path)
        if other != source.path and listing.private:
            raise SourceError(f'{other} and {source.path} are the same image: remove one')
        if other != source.path:
            raise SourceError(
                f'{other} and {source.path} would both get the image_id {source.image_id!r}: '
                f'rename one, or use --ids {BY_PATH}, which makes ids from the whole path under '
                f'{images}'
            )
    by_name = {source.path.name: source.image_id for source in listing.sources}
    files = spelling.ImageNames(by_name)
    # Lists name the files; with other ids they would name no image of the new data set.
    for image_ids in listing.lists.values():
        image_ids[:] = [
            by_name[file] if (file := files.spelled(name)) else name for name in image_ids
        ]
    # Whoever reads the files in order should get a mixture of classes and patients. The order comes
    # from a hash, so that it depends only on the names.
    listing.sources.sort(key=lambda source: (_digest(source.image_id), source.image_id))
    return listing


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
