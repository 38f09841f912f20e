"""`cxr-triage check`: audits a data root before anything is run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from records.check.audit import Audit

HELP = 'audit a data root: exit 0 when it is clean, 1 with the list of what is wrong'
# Below this the start of worker processes costs more than it saves.
_INLINE_BYTES = 64 << 20
_TABLES = ('metadata/Data_Entry*.csv', 'metadata/Data_Entry*.csv.gz', 'Data_Entry*.csv', 'Data_Entry*.csv.gz')
_LISTS = ('train_val_list', 'test_list')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `check`."""
    parser.add_argument('--data-root', required=True, metavar='DIR', help='folder (or object store URI) that holds the TFRecord files')
    parser.add_argument(
        '--pattern',
        action='append',
        metavar='GLOB',
        help='which files under the data root; repeatable (default: *.tfrec and *.tfrecord at any depth, zipped or not)',
    )
    parser.add_argument(
        '--metadata', metavar='FILE', help='the Data_Entry table (CSV, plain or gzip); found by itself in the data root or its metadata/'
    )
    parser.add_argument(
        '--missing-metadata',
        choices=('quarantine', 'keep'),
        default='quarantine',
        help='whether an image that the table does not name is an error (quarantine, default) or to be known (keep)',
    )
    parser.add_argument(
        '--patient-id-pattern', metavar='REGEX', help='finds the patient in an image_id that is not of the NIH form; one group'
    )
    parser.add_argument('--min-side', type=int, metavar='PIXELS', help='the least width and height of an image')
    parser.add_argument('--max-side', type=int, metavar='PIXELS', help='the greatest width and height of an image')
    parser.add_argument('--pixels', action='store_true', help='decode every image too (slow)')
    parser.add_argument('--json', metavar='FILE', help='write everything that was found to a file')
    parser.add_argument('--workers', type=int, metavar='N', help='processes (default: one a core)')


def run(args: argparse.Namespace) -> int:
    """Audits; returns 0 when the data root is clean, else 1."""
    from concurrent.futures.process import BrokenProcessPool

    from rich.console import Console
    from rich.markup import escape

    console, errors = Console(), Console(stderr=True, soft_wrap=True)
    try:
        audit = _audit(args, errors)
        if args.json:
            _write_json(args, audit)
    except (ValueError, OSError) as error:  # DataRootError, MetadataError and wrong options are ValueErrors
        errors.print(f'[bold red]check:[/] {escape(str(error))}')
        return 1
    except BrokenProcessPool:
        errors.print('[bold red]check:[/] a worker process was killed, most likely for want of memory: try fewer with --workers')
        return 1
    _show(audit, args, console)
    return 1 if audit.errors else 0


def _audit(args: argparse.Namespace, errors: Console) -> Audit:
    from records import data_root
    from records.check.audit import Audit, read_preprocessed
    from records.check.scan import ScanRules
    from records.intake import DEFAULT_MAX_SIDE, DEFAULT_MIN_SIDE, Intake
    from records.metadata import read_list, read_table

    root = args.data_root
    rules = ScanRules(args.min_side or DEFAULT_MIN_SIDE, args.max_side or DEFAULT_MAX_SIDE, args.pixels)
    files = data_root.find_files(root, tuple(args.pattern) if args.pattern else data_root.DEFAULT_PATTERNS)
    table = args.metadata or _find_table(root)
    metadata = read_table(table) if table else None
    lists = {name: read_list(path) for name in _LISTS if (path := _find(root, f'metadata/{name}.txt*', f'{name}.txt*'))}
    intake = Intake(
        metadata,
        missing_metadata=args.missing_metadata,
        patient_id_pattern=args.patient_id_pattern,
        min_side=rules.min_side,
        max_side=rules.max_side,
    )
    audit = Audit(intake, metadata)
    _scan(audit, root, files, rules, args.workers, errors)
    audit.finish()
    if lists:
        audit.compare_lists(lists)
    preprocessed = _find(root, 'preprocessed_data.csv')
    if preprocessed:
        audit.compare_preprocessed('preprocessed_data.csv', read_preprocessed(preprocessed))
    return audit


def _scan(audit: Audit, root: str, files: list, rules, workers: int | None, errors: Console) -> None:
    import functools

    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from records.check.scan import scan_file
    from records.data_root import join
    from records.parallel import default_workers, ordered_map

    total = sum(file.size for file in files)
    if workers is None:
        workers = default_workers() if rules.pixels or total > _INLINE_BYTES else 1
    columns = (TextColumn('reading'), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True) as progress:
        task = progress.add_task('check', total=total)
        places = [(join(root, file.name), file.name) for file in files]
        scans = ordered_map(functools.partial(scan_file, rules=rules), places, min(workers, len(files)))
        for file, scan in zip(files, scans, strict=True):
            audit.add(scan)
            progress.advance(task, file.size)


def _find(root: str, *patterns: str) -> str | None:
    """The one file under a local data root that fits; ValueError when there are several."""
    from pathlib import Path

    if '://' in root:
        return None
    found = sorted({str(path) for pattern in patterns for path in Path(root).glob(pattern)})
    if len(found) > 1:
        raise ValueError(f'{root}: {" and ".join(found)} are both there: keep one')
    return found[0] if found else None


def _find_table(root: str) -> str | None:
    try:
        return _find(root, *_TABLES)
    except ValueError as error:
        raise ValueError(f'{error}, or name one with --metadata') from None


def _write_json(args: argparse.Namespace, audit: Audit) -> None:
    import json
    from pathlib import Path

    from records.layout import write_atomically

    content = {'data_root': args.data_root, **audit.as_dict()}
    write_atomically(Path(args.json), json.dumps(content, indent=2, ensure_ascii=False).encode() + b'\n')


def _show(audit: Audit, args: argparse.Namespace, console: Console) -> None:
    from records.check.report import show

    show(audit, args.data_root, console)
    if args.json:
        console.print(f'Everything that was found: {args.json}', highlight=False, soft_wrap=True)
