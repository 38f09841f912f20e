"""The options of `convert` for images whose labels come from a table."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from records.convert.convert import Outcome
    from records.convert.sources import Listing

# Options that only class folders and the NIH release have.
_OTHERS = ('table', 'class_map', 'patient_pattern')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --labels and its companions."""
    group = parser.add_argument_group('DICOM, and images with a table of labels')
    group.add_argument(
        '--labels',
        type=Path,
        metavar='FILE',
        help='CSV (plain or gzip) with the labels of the images; needed for DICOM files',
    )
    group.add_argument(
        '--label-format',
        metavar='NAME',
        help=(
            'form of --labels: chexpert, mimic-cxr, padchest, vindr-cxr, rsna, or a mapping file '
            '(YAML)'
        ),
    )
    group.add_argument(
        '--uncertain',
        choices=('positive', 'negative', 'leave-out'),
        default='positive',
        help=(
            'an uncertain finding is present (positive, default), absent (negative), or leaves the '
            'image out'
        ),
    )
    group.add_argument(
        '--patient-key',
        type=Path,
        metavar='FILE',
        help=(
            'the secret behind the names of patients and images, outside of the data; made if the '
            'file does not exist'
        ),
    )
    group.add_argument(
        '--names',
        type=Path,
        metavar='FILE',
        help='write which file became which image (CSV); it identifies patients',
    )


def folder_of(images: Path, stack: contextlib.ExitStack) -> Path:
    """The folder or DICOMDIR that --images names; a ZIP file is unpacked until the stack ends.

    Raises:
      SourceError: it is none of them.
    """
    from records.convert import heads
    from records.convert.sources import SourceError

    if images.is_dir() or (images.is_file() and images.name.upper() == heads.CONTENTS):
        return images
    if not images.is_file():
        raise SourceError(f'{images}: no such folder. Give the folder of the images with --images')
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='cxr-triage-')))
    heads.unzipped(images, folder)
    return folder


def list_images(args: argparse.Namespace, images: Path, out: Path) -> tuple[Listing, bool]:
    """The images that --labels has labels for, and whether --patient-key was made.

    Raises:
      SourceError: options or files cannot be used.
      MetadataError: --labels is not text.
      OSError: a file cannot be read or written.
    """
    from records.convert import label_formats, label_tables, labelled, pseudonyms
    from records.convert.sources import SourceError
    from records.parallel import default_workers

    for name in ('label_format', 'patient_key'):
        if getattr(args, name) is None:
            raise SourceError(f'--labels needs --{name.replace("_", "-")}')
    for name in _OTHERS:
        if getattr(args, name):
            raise SourceError(f'--labels does not go with --{name.replace("_", "-")}')
    folder = images.parent if images.is_file() else images
    if args.names and args.names.resolve().is_relative_to(out.resolve()):
        raise SourceError(f'--names {args.names}: it identifies patients; keep it outside of {out}')
    form = label_formats.load(args.label_format)
    rows = label_tables.read(args.labels.expanduser(), form, args.uncertain)
    names, is_new = pseudonyms.load(args.patient_key.expanduser(), folder, out)
    workers = args.workers or default_workers()
    listing = labelled.list_labelled(images, rows, form, names, workers)
    return listing, is_new


def write_names(args: argparse.Namespace, listing: Listing, outcome: Outcome, folder: Path) -> None:
    """Writes --names, if it is set."""
    from records.convert import labelled

    if args.names:
        labelled.write_names(args.names.expanduser(), listing, outcome.failed, folder)
