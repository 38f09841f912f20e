"""`cxr-triage check`: checks a data root before a run, or images before `convert`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import storage
from cli import image_check
from pipeline.exit_codes import FAILED, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from records.check.audit import Audit
    from records.data_root import DataFile, DataRoot
    from records.side_files import Kind

# Below this size, starting worker processes costs more than it saves.
_INLINE_BYTES = 64 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `check`."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--data-root', metavar='DIR', help='folder, or object store URI, with the TFRecord files'
    )
    source.add_argument(
        '--images',
        type=Path,
        metavar='DIR',
        help=(
            'folder, DICOMDIR or ZIP file with DICOM or other images: what `convert --labels` '
            'would accept, note and refuse'
        ),
    )
    parser.add_argument(
        '--pattern',
        action='append',
        metavar='GLOB',
        help=(
            'files to read under the data root; repeatable (default: *.tfrec and *.tfrecord at any '
            'depth, plain or gzip)'
        ),
    )
    parser.add_argument(
        '--metadata',
        metavar='FILE',
        help=(
            'the Data_Entry table (CSV, plain or gzip; default: the one in the data root or its '
            'metadata/)'
        ),
    )
    parser.add_argument(
        '--missing-metadata',
        choices=('quarantine', 'keep'),
        default='quarantine',
        help=(
            'an image that the table does not name is an error (quarantine, default) or only a '
            'warning (keep)'
        ),
    )
    parser.add_argument(
        '--patient-id-pattern',
        metavar='REGEX',
        help=(
            'regular expression with one group that finds the patient in an image_id without the '
            'NIH form'
        ),
    )
    parser.add_argument(
        '--min-side', type=int, metavar='PIXELS', help='least width and height of an image'
    )
    parser.add_argument(
        '--max-side', type=int, metavar='PIXELS', help='greatest width and height of an image'
    )
    parser.add_argument('--pixels', action='store_true', help='also decode every image (slow)')
    parser.add_argument('--json', metavar='FILE', help='write the full report to a file')
    parser.add_argument(
        '--workers', type=int, metavar='N', help='processes (default: one per core)'
    )


def run(args: argparse.Namespace) -> int:
    """Checks the data root or the images; returns 0 if they are clean, otherwise 1."""
    from concurrent.futures.process import BrokenProcessPool

    from records import terminal

    try:
        if args.images:
            return image_check.run(args, terminal.console(), terminal.console(stderr=True))
        audit = _audit(args, terminal.console(stderr=True))
        if args.json:
            _write_json(args, audit)
    # DataRootError, MetadataError, SourceError and wrong options are ValueErrors.
    except (ValueError, OSError) as error:
        return refuse('check', terminal.error_text(error))
    except BrokenProcessPool:
        return refuse(
            'check',
            'a worker process was killed, probably because memory ran out: try fewer with '
            '--workers',
        )
    _show(audit, args, terminal.console())
    return FAILED if audit.errors else 0


def _audit(args: argparse.Namespace, progress_console: Console) -> Audit:
    from records import data_root, layout, side_files
    from records.check.audit import Audit, read_preprocessed
    from records.check.scan import ScanRules
    from records.intake import DEFAULT_MAX_SIDE, DEFAULT_MIN_SIDE, Intake
    from records.metadata import read_list, read_tables

    root = args.data_root
    rules = ScanRules(
        args.min_side or DEFAULT_MIN_SIDE, args.max_side or DEFAULT_MAX_SIDE, args.pixels
    )
    listing = data_root.scan(
        root, tuple(args.pattern) if args.pattern else data_root.DEFAULT_PATTERNS
    )
    names = {kind: _find(kind, listing) for kind in side_files.LISTS}
    paths = {kind: storage.resolve(root, name) for kind, name in names.items() if name}
    found = [] if args.metadata else side_files.present_tables(listing, '--metadata')
    tables = [args.metadata] if args.metadata else [storage.resolve(root, name) for name in found]
    metadata = read_tables(tables) if tables else None
    lists = {
        name: read_list(paths[kind])
        for name, kind in zip(layout.LISTS, side_files.LISTS, strict=True)
        if kind in paths
    }
    intake = Intake(
        metadata,
        missing_metadata=args.missing_metadata,
        patient_id_pattern=args.patient_id_pattern,
        min_side=rules.min_side,
        max_side=rules.max_side,
    )
    audit = Audit(intake, metadata)
    _scan(audit, root, listing.files, rules, args.workers, progress_console)
    audit.finish()
    audit.add_ignored(listing.ignored([*(name for name in names.values() if name), *found]))
    if lists:
        audit.compare_lists(lists)
    if layout.PREPROCESSED in listing.others:
        audit.compare_preprocessed(
            layout.PREPROCESSED, read_preprocessed(storage.resolve(root, layout.PREPROCESSED))
        )
    return audit


def _scan(
    audit: Audit, root: str, files: Sequence[DataFile], rules, workers: int | None, console: Console
) -> None:
    import functools

    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from records.check.scan import scan_file
    from records.parallel import default_workers, ordered_map

    total = sum(file.size for file in files)
    if workers is None:
        workers = default_workers() if rules.pixels or total > _INLINE_BYTES else 1
    columns = (TextColumn('reading'), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        task = progress.add_task('check', total=total)
        paths = [(storage.resolve(root, file.name), file.name) for file in files]
        scans = ordered_map(
            functools.partial(scan_file, rules=rules), paths, min(workers, len(files))
        )
        for file, scan in zip(files, scans, strict=True):
            audit.add(scan)
            progress.advance(task, file.size)


def _find(kind: Kind, listing: DataRoot) -> str | None:
    """The name of the side file that a run with `auto` uses; None without one."""
    from records import side_files

    return side_files.find(
        kind, listing.path, listing.others, [file.name for file in listing.files], 'its usual name'
    )


def _write_json(args: argparse.Namespace, audit: Audit) -> None:
    import json

    from records.layout import write_atomically

    content = {'data_root': args.data_root, **audit.as_dict()}
    # A file name that is not UTF-8 becomes a JSON escape.
    text = json.dumps(content, indent=2, ensure_ascii=False).encode(errors='backslashreplace')
    write_atomically(Path(args.json), text + b'\n')


def _show(audit: Audit, args: argparse.Namespace, console: Console) -> None:
    from records.check.report import show

    show(audit, args.data_root, console)
    if args.json:
        console.print(f'Full report: {args.json}', highlight=False, soft_wrap=True)
