"""Lists DICOM and other images whose labels come from a table. Nothing in the list names a person.

Patients and images get keyed pseudonyms, also in the names of records.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from records import spelling
from records.convert import heads, label_formats
from records.convert.label_formats import LabelFormat
from records.convert.label_tables import Row
from records.convert.pseudonyms import Pseudonyms
from records.convert.sources import SUFFIXES, Failure, Listing, Source, SourceError, finished
from records.dicom import attributes
from records.dicom.attributes import Attributes
from schemas import problem_names as problems
from schemas.labels import LABELS


@dataclass(frozen=True)
class _Image:
    """A file with its labels; `said` is what its header says, None without one."""

    path: Path
    row: Row
    said: Attributes | None
    patient: str
    identity: str


def list_labelled(
    images: Path,
    rows: Mapping[str, Row],
    form: LabelFormat,
    pseudonyms: Pseudonyms,
    workers: int = 1,
) -> Listing:
    """Lists the images under `images` that a table has labels for.

    Args:
      images: a folder, or a DICOMDIR, whose files are read.
      rows: of the table.
      form: of the table.
      pseudonyms: for patients and images.
      workers: processes that read headers.

    Raises:
      SourceError: there is no image, or two are the same one.
      OSError: a folder cannot be listed.
    """
    listing = Listing('a label table', private=True)
    folder = images.parent if images.is_file() else images
    names = heads.find(images, listing)
    used: set[str] = set()
    found = []
    for name, head in zip(names, heads.read(folder, names, workers), strict=True):
        if not head.is_image:
            listing.ignored[heads.NOT_AN_IMAGE] += 1
            continue
        image = head.failure or _image(folder / name, name, head.said, rows, form, used)
        if isinstance(image, Failure):
            listing.failed[name] = image
        elif image.row.left_out:
            listing.ignored[image.row.left_out] += 1
        else:
            found.append(image)
    if not found and not listing.failed and not listing.ignored:
        raise SourceError(f'{images}: no DICOM files and no images ({", ".join(SUFFIXES)})')
    numbers = _study_numbers(found)
    for image in found:
        listing.own_patient += not image.patient
        listing.sources.append(_source(image, numbers, pseudonyms))
    listing.without_file = len(rows) - len(used)
    return finished(listing, folder)


def write_names(path: Path, listing: Listing, failed: Mapping[str, Failure], folder: Path) -> None:
    """Writes which file became which image: CSV with file, image_id, patient and problem.

    Args:
      path: of the CSV file.
      listing: the images.
      failed: file -> why it became none.
      folder: of the images.
    """
    with path.open('w', newline='', encoding='utf-8', errors='surrogateescape') as file:
        writer = csv.writer(file)
        writer.writerow(('file', 'image_id', 'patient', 'problem'))
        for source in listing.sources:
            name = source.path.relative_to(folder).as_posix()
            if name not in failed:
                writer.writerow((name, source.image_id, source.table['Patient ID'], ''))
        for name, failure in failed.items():
            writer.writerow((name, '', '', failure.reason))


def _image(
    path: Path,
    name: str,
    said: Attributes | None,
    rows: Mapping[str, Row],
    form: LabelFormat,
    used: set[str],
) -> _Image | Failure:
    """An image with its labels, or why it has none. Adds its name in the table to `used`."""
    text = {
        label_formats.INSTANCE: said.image if said else '',
        label_formats.STUDY: said.study if said else '',
    }.get(form.match, name)
    key = label_formats.key_of(text, form.match)
    if key not in rows:
        reason = f'the label table has no row for it ({form.image}, by {form.match})'
        return Failure(problems.NOT_IN_METADATA, reason)
    used.add(key)
    row = rows[key]
    patient = (said.patient if said else '') or row.patient
    return _Image(path, row, said, patient, (said.image if said else '') or name)


def _study_numbers(images: list[_Image]) -> dict[tuple[str, str], int]:
    """(patient, study) -> the patient's study number, by date, which itself is not kept."""
    studies: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for image in images:
        if image.said and image.said.study and image.said.time and image.patient:
            studies[image.patient].add((image.said.time, image.said.study))
    numbers: dict[tuple[str, str], int] = {}
    for patient, times in studies.items():
        ordered = dict.fromkeys(study for _, study in sorted(times))
        numbers.update({(patient, study): number for number, study in enumerate(ordered)})
    return numbers


def _source(
    image: _Image, numbers: Mapping[tuple[str, str], int], pseudonyms: Pseudonyms
) -> Source:
    said, row = image.said, image.row
    image_id = pseudonyms.image(image.identity)
    number = numbers.get((image.patient, said.study)) if said else None
    spacing = said.spacing if said else ('', '')
    table = {
        'Finding Labels': '|'.join(label for label in row.labels if label in LABELS),
        'Follow-up #': '' if number is None else str(number),
        'Patient ID': (
            pseudonyms.patient(image.patient) if image.patient else image_id.removesuffix('.png')
        ),
        'Patient Age': (said.age if said else '')
        or attributes.limited_age(spelling.age(row.age) if row.age else None),
        'Patient Gender': (said.sex if said else '') or spelling.sex(row.sex) or '',
        'View Position': (said.view if said else '') or spelling.view(row.view) or '',
        'OriginalImagePixelSpacing[x': spacing[0],
        'y]': spacing[1],
    }
    return Source(image.path, image_id, row.labels, table)
