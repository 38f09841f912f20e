"""`cxr-triage convert`: converts images to the NIH TFRecord layout."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from cli import label_options
from pipeline.exit_codes import refuse

if TYPE_CHECKING:
    from rich.console import Console

    from records.convert.convert import Outcome
    from records.convert.sources import Listing

_MAX_REASONS = 20
# Marks the folder of a data set until the data set is complete.
_UNFINISHED = '.convert-unfinished'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `convert`."""
    parser.add_argument(
        '--images',
        type=Path,
        required=True,
        metavar='PATH',
        help='folder with the images, at any depth; with --labels also a DICOMDIR or ZIP file',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='DIR',
        help='folder for the data set; created if it does not exist',
    )
    parser.add_argument(
        '--table',
        type=Path,
        metavar='FILE',
        help=(
            'the Data_Entry table (CSV, plain or gzip) of NIH images; default: the one in the '
            'folder or its metadata/; without a table, the folders give the labels'
        ),
    )
    parser.add_argument(
        '--class-map',
        action='append',
        default=[],
        metavar='FOLDER=LABEL',
        help=(
            "the label of a class folder that is not named after one: 'sick=Mass', "
            "'sick=Mass|Edema', or 'rest=' to leave the folder out; repeatable"
        ),
    )
    parser.add_argument(
        '--patient-pattern',
        metavar='REGEX',
        help=(
            'regular expression with one group that finds the patient in a file name without its '
            r"suffix: '^(person\d+|(?:NORMAL\d*-)?IM-\d+)'; class folders only"
        ),
    )
    parser.add_argument(
        '--ids',
        choices=('name', 'path'),
        default='name',
        help='make the image_id from the file name (default) or the whole path',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=600,
        metavar='PIXELS',
        help='side of the images in the records (default: 600)',
    )
    parser.add_argument(
        '--fit',
        choices=('squash', 'pad', 'crop'),
        default='squash',
        help=(
            'how to fit images that are not square: squash as the NIH did (default), pad with '
            'black, or crop the longer side'
        ),
    )
    parser.add_argument(
        '--shard-size', type=int, default=512, metavar='N', help='records per file (default: 512)'
    )
    parser.add_argument(
        '--max-failed',
        type=float,
        default=0.01,
        metavar='SHARE',
        help='exit with 1 if a larger share of the images fails, 0 to 1 (default: 0.01)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help='processes (default: one per core); the output does not depend on it',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace an earlier data set in --out'
    )
    label_options.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Converts the images; returns 0, or 1 after an error or more failures than --max-failed."""
    from concurrent.futures.process import BrokenProcessPool

    from records import terminal
    from records.convert.convert import NothingConvertedError
    from records.convert.sources import SourceError
    from records.data_root import DataRootError
    from records.metadata import MetadataError

    console, errors = terminal.console(), terminal.console(stderr=True, soft_wrap=True)
    try:
        with contextlib.ExitStack() as stack:
            return _convert(args, console, errors, stack)
    except (SourceError, MetadataError, DataRootError, NothingConvertedError) as error:
        return refuse('convert', error)
    except BrokenProcessPool:
        return refuse(
            'convert',
            'a worker process was killed, probably because memory ran out: try fewer with '
            '--workers',
        )
    except OSError as error:
        advice = (
            '. The data set is not complete: fix the cause, then run the same command again'
            if (args.out.expanduser() / _UNFINISHED).exists()
            else ''
        )
        return refuse('convert', f'{terminal.error_text(error)}{advice}')


def _convert(
    args: argparse.Namespace, console: Console, errors: Console, stack: contextlib.ExitStack
) -> int:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from records.convert.convert import convert
    from records.parallel import default_workers

    _check_numbers(args)
    images, out = args.images.expanduser(), args.out.expanduser()
    if args.labels:
        images = label_options.folder_of(images, stack)
    folder = images.parent if args.labels and images.is_file() else images
    _check_folders(folder, out, args.overwrite)
    if args.labels:
        listing, is_new = label_options.list_images(args, images, out)
        if is_new:
            errors.print(
                f'{_escape(args.patient_key)}: made a new key. Keep it, and keep it secret.'
            )
    else:
        listing = _list(args, images)
    if listing.own_patient:
        advice = (
            '' if args.labels else ' Use --patient-pattern if the file names contain the patient.'
        )
        errors.print(
            f'[bold yellow]Warning:[/] the patient of {listing.own_patient} of '
            f'{len(listing.sources)} images is unknown: each of them counts as its own patient. '
            'Images of one person can then be in training and in test, and results look too good.'
            f'{advice}'
        )
    for problem in listing.problems:
        errors.print(f'[bold yellow]Warning:[/] {_escape(listing.kind)}: {_escape(problem)}')
    if (out / _UNFINISHED).exists():
        errors.print(f'{_escape(out)}: an earlier conversion did not finish; starting again.')
    _clear(out)
    columns = (TextColumn('converting'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=errors, disable=not errors.is_terminal, transient=True
    ) as progress:
        task = progress.add_task('convert', total=len(listing.sources))
        outcome = convert(
            listing,
            folder,
            out,
            size=args.size,
            fit=args.fit,
            shard_size=args.shard_size,
            workers=args.workers or default_workers(),
            advance=lambda count: progress.advance(task, count),
        )
    label_options.write_names(args, listing, outcome, folder)
    (out / _UNFINISHED).unlink()
    _show(outcome, out, console)
    if outcome.failed_share > args.max_failed:
        return refuse(
            'convert',
            f'{len(outcome.failed)} images failed, {outcome.failed_share:.2%}, and --max-failed '
            f'allows {args.max_failed:.2%}. The other images were converted; look at the reasons '
            'before you use them.',
        )
    return 0


def _check_numbers(args: argparse.Namespace) -> None:
    from records.convert.sources import SourceError

    for name, least in (('size', 64), ('shard_size', 1), ('workers', 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise SourceError(f'--{name.replace("_", "-")} is {value}: expected at least {least}')
    if not 0 <= args.max_failed <= 1:
        raise SourceError(f'--max-failed is {args.max_failed}: expected a share from 0 to 1')


def _check_folders(images: Path, out: Path, overwrite: bool) -> None:
    from records.convert.sources import SourceError

    if not images.is_dir():
        raise SourceError(f'{images}: no such folder. Give the folder of the images with --images')
    if out.exists() and not out.is_dir():
        raise SourceError(f'{out}: this is a file, expected a folder for the data set')
    if out.resolve() == images.resolve():
        raise SourceError(f'{out}: --out is the folder of the images: choose another one')
    if not out.is_dir():
        return
    if any(out.iterdir()) and not overwrite and not (out / _UNFINISHED).exists():
        raise SourceError(
            f'{out}: the folder is not empty. Choose another one, or use --overwrite to replace '
            'the data set in it'
        )
    _check_only_own_records(out)


def _check_only_own_records(out: Path) -> None:
    """Checks that no other records would be read together with the new ones.

    Raises:
      SourceError: there are records that `layout.remove` does not remove.
    """
    from records import layout
    from records.convert.sources import SourceError
    from records.data_root import DataRootError, find_files

    try:
        files = find_files(str(out))
    except DataRootError:
        return
    own_files = {path.relative_to(out).as_posix() for path in layout.data_set_files(out)}
    foreign_files = [file.name for file in files if file.name not in own_files]
    if foreign_files:
        raise SourceError(
            f'{out}: the folder has {len(foreign_files)} record files that convert did not write, '
            f'such as {foreign_files[0]}. Move them away, or choose another folder'
        )


def _list(args: argparse.Namespace, images: Path) -> Listing:
    from records.convert.sources import (
        SourceError,
        find_table,
        list_class_folders,
        list_nih,
        parse_class_map,
    )
    from records.intake import patient_pattern

    table = args.table.expanduser() if args.table else None
    if table is None and not args.class_map:
        table = find_table(images)
    if table:
        if not table.is_file():
            raise SourceError(f'--table {table}: no such file')
        if args.class_map or args.patient_pattern:
            raise SourceError(
                '--class-map and --patient-pattern are for class folders: a table has labels and '
                'patients'
            )
        return list_nih(images, table, args.ids)
    try:
        pattern = patient_pattern(args.patient_pattern) if args.patient_pattern else None
    except ValueError as error:
        raise SourceError(f'--patient-pattern: {error}') from None
    return list_class_folders(images, parse_class_map(args.class_map), pattern, args.ids)


def _clear(out: Path) -> None:
    from records import layout
    from records.convert.convert import REPORT

    out.mkdir(parents=True, exist_ok=True)
    (out / _UNFINISHED).touch()
    layout.remove(out)
    (out / REPORT).unlink(missing_ok=True)


def _show(outcome: Outcome, out: Path, console: Console) -> None:
    from rich.table import Table

    from records.convert.convert import REPORT

    table = Table(
        title=f'Converted from {_escape(outcome.kind)}', title_justify='left', show_header=False
    )
    table.add_column()
    table.add_column(justify='right')
    rows = [
        ('images converted', outcome.converted),
        ('images failed', len(outcome.failed)),
        ('images left out by --class-map', outcome.left_out),
        *((f'ignored: {kind}', count) for kind, count in sorted(outcome.ignored.items())),
        ('table rows without an image', outcome.without_file),
        *((f'images in {name}', count) for name, count in outcome.lists.items()),
        ('patients', outcome.patients),
        ('files written', len(outcome.shards)),
    ]
    for name, count in rows:
        table.add_row(_escape(name), f'{count:,}')
    rows = [(f'noted: {note}', count) for note, count in sorted(outcome.notes.items())]
    for name, count in rows:
        table.add_row(_escape(name), f'{count:,}')
    table.add_section()
    for label, count in sorted(outcome.labels.items(), key=lambda item: -item[1]):
        table.add_row(label, f'{count:,}')
    console.print(table)
    if outcome.failed:
        reasons = Table(title='Images that were not converted', title_justify='left')
        reasons.add_column('file', overflow='fold')
        reasons.add_column('problem')
        reasons.add_column('reason')
        for file in sorted(outcome.failed)[:_MAX_REASONS]:
            failure = outcome.failed[file]
            reasons.add_row(_escape(file), failure.kind, _escape(failure.reason))
        console.print(reasons)
        if len(outcome.failed) > _MAX_REASONS:
            console.print(f'… and {len(outcome.failed) - _MAX_REASONS} more')
    console.print(
        f'Data set: {out}\nReport: {out / REPORT}', highlight=False, soft_wrap=True, markup=False
    )


def _escape(text: object) -> str:
    """Escapes the markup of rich; class and file names may contain brackets."""
    from rich.markup import escape

    return escape(str(text))
