"""Where images come from, as far as their ids and the files beside them tell."""

from __future__ import annotations

import csv
import gzip
import io
import posixpath
import re
import zlib
from collections.abc import Iterator, Mapping

from records.metadata import Entry, MetadataError, nih_patient
from records.tfrecord import open_binary

SYNTHETIC, NIH, CHILDREN, OTHER = 'synthetic', 'nih', 'children', 'other'
# What `synth` writes under `metadata/`: what was drawn in each image, and how it was labelled.
TRUTH_NAME = 'synthetic_truth.csv.gz'
_NIH_PATIENTS = 30_805
# File names in the set of Kermany et al.; those of its normal films are also the names that some
# DICOM viewers give to exports.
_CHILDREN_ILL = re.compile(r'(?:.*-)?person\d+_(?:bacteria|virus)_\d+\.\w+')
_CHILDREN_NORMAL = re.compile(r'(?:.*-)?(?:NORMAL\d*-)?IM-\d+-\d+(?:-\d+)?\.\w+')
CHILDREN_ILL, CHILDREN_NORMAL = 'children_ill', 'children_normal'


def of_image(image_id: str | None, entry: Entry | None, truth: Mapping[str, bool]) -> str:
    """The origin of one image: SYNTHETIC, NIH, CHILDREN_ILL, CHILDREN_NORMAL or OTHER.

    `summarise` gives the origins of a whole set.

    An image is of NIH ChestX-ray14 only if its id has the form and a patient number of that set,
    and the metadata table agrees.

    Args:
      image_id: None when the record has none.
      entry: what the metadata table says of the image; None when it says nothing.
      truth: see `read_truth`.
    """
    if image_id is None:
        return OTHER
    if image_id in truth:
        return SYNTHETIC
    patient = nih_patient(image_id)
    if (
        patient
        and 1 <= int(patient) <= _NIH_PATIENTS
        and entry is not None
        and entry.patient_id == patient
    ):
        return NIH
    for pattern, name in ((_CHILDREN_ILL, CHILDREN_ILL), (_CHILDREN_NORMAL, CHILDREN_NORMAL)):
        if pattern.fullmatch(image_id):
            return name
    return OTHER


def summarise(counts: Mapping[str, int]) -> dict[str, int]:
    """Images of each of SYNTHETIC, NIH, CHILDREN and OTHER, those without images left out.

    Args:
      counts: images by the origin that `of_image` gives.
    """
    children = counts.get(CHILDREN_ILL, 0) and counts.get(CHILDREN_ILL, 0) + counts.get(
        CHILDREN_NORMAL, 0
    )
    found = {SYNTHETIC: counts.get(SYNTHETIC, 0), NIH: counts.get(NIH, 0), CHILDREN: children}
    found[OTHER] = sum(counts.values()) - sum(found.values())
    return {name: count for name, count in found.items() if count}


def truth_places(root: str, file: str, table: str | None) -> Iterator[str]:
    """Where the truth of a record file may be: in `metadata/` of each folder above it, as far as
    the root, and beside the metadata table.

    Args:
      root: the data root.
      file: the name of the record file, relative to the root.
      table: the path of the metadata table.
    """
    folder = posixpath.dirname(file)
    while True:
        yield posixpath.join(root, folder, 'metadata', TRUTH_NAME)
        if not folder:
            break
        folder = posixpath.dirname(folder)
    if table:
        yield posixpath.join(posixpath.dirname(table), TRUTH_NAME)


def read_truth(path: str) -> dict[str, bool]:
    """Image id -> whether its label is wrong on purpose, for the images that `synth` drew.

    Raises:
      MetadataError: the file is not one that `synth` writes.
      OSError: it cannot be read.
    """
    try:
        with open_binary(path) as file:
            rows = list(csv.DictReader(io.StringIO(gzip.decompress(file.read()).decode('utf-8'))))
        if not rows:
            raise EOFError('no images in it')
        return {
            row['Image Index']: set(row['Drawn'].split('|')) != set(row['Labelled'].split('|'))
            for row in rows
        }
    except (
        UnicodeDecodeError,
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
        csv.Error,
        KeyError,
        AttributeError,
    ) as error:
        raise MetadataError(
            f'{path}: not the table that `cxr-triage synth` writes of what it drew '
            f'({type(error).__name__}: {error}). Draw the set again'
        ) from None
