"""`cxr-triage check --images`: what `convert` would make of DICOM and other images."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING

from pipeline.exit_codes import FAILED

if TYPE_CHECKING:
    from rich.console import Console

    from records.check.images import ImageAudit

# Options that only a data root has.
_OTHERS = (
    'pattern', 'metadata', 'patient_id_pattern', 'min_side', 'max_side',
)  # fmt: skip
_MAX_FILES = 8


def run(args: argparse.Namespace, console: Console, progress_console: Console) -> int:
    """Checks the images; returns 0 if `convert` would accept all of them, otherwise 1.

    Raises:
      SourceError: options or files cannot be used.
      OSError: a file cannot be read or written.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from cli import label_options
    from records.check import images
    from records.convert.sources import SourceError
    from records.parallel import default_workers

    for name in _OTHERS:
        if getattr(args, name):
            raise SourceError(f'--images does not go with --{name.replace("_", "-")}')
    columns = (TextColumn('decoding'), BarColumn(), MofNCompleteColumn())
    with (
        contextlib.ExitStack() as stack,
        Progress(
            *columns,
            console=progress_console,
            disable=not (args.pixels and progress_console.is_terminal),
            transient=True,
        ) as progress,
    ):
        task = progress.add_task('check', total=None)
        audit = images.check(
            label_options.folder_of(args.images.expanduser(), stack),
            pixels=args.pixels,
            workers=args.workers or default_workers(),
            advance=lambda done, total: progress.update(task, completed=done, total=total),
        )
    _show(audit, str(args.images), console)
    if args.json:
        _write_json(args, audit)
        console.print(f'Full report: {args.json}', highlight=False, soft_wrap=True)
    return FAILED if audit.failed else 0


def _write_json(args: argparse.Namespace, audit: ImageAudit) -> None:
    import json
    from pathlib import Path

    from records.layout import write_atomically

    content = {'folder': str(args.images), **audit.as_dict()}
    text = json.dumps(content, indent=2, ensure_ascii=False).encode(errors='backslashreplace')
    write_atomically(Path(args.json), text + b'\n')


def _show(audit: ImageAudit, title: str, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify='left', show_header=False)
    table.add_column()
    table.add_column(justify='right')
    rows = [
        ('DICOM files accepted', audit.dicom),
        ('of these with a note', audit.noted),
        ('other images accepted' if audit.decoded else 'other images, not opened', audit.others),
        ('refused', len(audit.failed)),
        *((f'ignored: {kind}', count) for kind, count in sorted(audit.ignored.items())),
    ]
    for name, count in rows:
        table.add_row(escape(name), f'{count:,}')
    console.print(table)
    if audit.notes:
        notes = Table(title='Accepted with a note', title_justify='left')
        notes.add_column('files', justify='right')
        notes.add_column('note', overflow='fold')
        for note, count in audit.notes.most_common():
            notes.add_row(f'{count:,}', escape(note))
        console.print(notes)
    if audit.failed:
        refused = Table(title='Refused', title_justify='left')
        refused.add_column('files', justify='right')
        refused.add_column('reason', overflow='fold')
        refused.add_column('file', overflow='fold')
        for reason, files in audit.reasons().items():
            more = f'\n… {len(files) - _MAX_FILES:,} more' if len(files) > _MAX_FILES else ''
            listed = '\n'.join(files[:_MAX_FILES]) + more
            refused.add_row(f'{len(files):,}', escape(reason), escape(listed))
        console.print(refused)
        console.print(f'[bold red]Not clean:[/] convert would refuse {len(audit.failed):,} files.')
        return
    looked = '' if audit.decoded else ' Only headers were read; --pixels decodes the images, too.'
    console.print(f'[bold green]Clean:[/] {audit.accepted:,} images.{looked}')
