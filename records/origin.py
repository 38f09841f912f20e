"""Finds out from which data set images come, by their ids and side files."""

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
# `synth` writes it under `metadata/`: what it drew in each image, and the labels it gave.
TRUTH_NAME = 'synthetic_truth.csv.gz'
_NIH_PATIENTS = 30_805
# File names in the data set of Kermany et al. Some DICOM viewers name their exports like its normal
# images.
_CHILDREN_ILL = re.compile(r'(?:.*-)?person\d+_(?:bacteria|virus)_\d+\.\w+')
_CHILDREN_NORMAL = re.compile(r'(?:.*-)?(?:NORMAL\d*-)?IM-\d+-\d+(?:-\d+)?\.\w+')
CHILDREN_ILL, CHILDREN_NORMAL = 'children_ill', 'children_normal'


def of_image(image_id: str | None, entry: Entry | None, truth: Mapping[str, bool]) -> str:
    """The origin of one image: SYNTHETIC, NIH, CHILDREN_ILL, CHILDREN_NORMAL or OTHER.

    An image is of NIH ChestX-ray14 only if its id has the form and a patient number of that data
    set, and the metadata table agrees. `summarise` gives the origins of a whole data set.

    Args:
      image_id: None if the record has none.
      entry: its row in the metadata table; None without one.
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
    """The number of images of SYNTHETIC, NIH, CHILDREN and OTHER, without zeros.

    Args:
      counts: number of images by the origin that `of_image` returns.
    """
    children = counts.get(CHILDREN_ILL, 0) and counts.get(CHILDREN_ILL, 0) + counts.get(
        CHILDREN_NORMAL, 0
    )
    origins = {SYNTHETIC: counts.get(SYNTHETIC, 0), NIH: counts.get(NIH, 0), CHILDREN: children}
    origins[OTHER] = sum(counts.values()) - sum(origins.values())
    return {name: count for name, count in origins.items() if count}


def truth_places(root: str, file: str, table: str | None) -> Iterator[str]:
    """Yields the places where the truth of a record file may be.

    They are `metadata/` in each folder above it, up to the root, and the folder of the metadata
    table.

    Args:
      root: the data root.
      file: name of the record file, relative to the root.
      table: path of the metadata table; None without one.
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
    """For the images that `synth` drew: image id -> whether its label is wrong on purpose.

    Raises:
      MetadataError: `synth` did not write the file.
      OSError: it cannot be read.
    """
    try:
        with open_binary(path) as file:
            rows = list(csv.DictReader(io.StringIO(gzip.decompress(file.read()).decode('utf-8'))))
        if not rows:
            raise EOFError('it has no images')
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
            f'{path}: not the table of drawn images that `cxr-triage synth` writes '
            f'({type(error).__name__}: {error}). Draw the data set again'
        ) from None
