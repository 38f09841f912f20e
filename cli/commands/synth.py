"""`cxr-triage synth`: draws synthetic chest X-rays in the NIH TFRecord layout."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.exit_codes import refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `synth`."""
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='DIR',
        help='the data root to write: data/, metadata/ and preprocessed_data.csv',
    )
    parser.add_argument('--count', type=int, required=True, metavar='N', help='number of X-rays')
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        metavar='S',
        help='the same seed gives the same bytes (default: 0)',
    )
    parser.add_argument(
        '--label-noise',
        type=float,
        default=0.03,
        metavar='SHARE',
        help='share of wrong labels, 0 to 1 (default: 0.03)',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=600,
        metavar='PIXELS',
        help='side of the images (default: 600, as in the NIH records)',
    )
    parser.add_argument(
        '--first-patient',
        type=int,
        default=1,
        metavar='P',
        help='number of the first patient; a second span takes a higher one (default: 1)',
    )
    parser.add_argument(
        '--workers', type=int, metavar='N', help='processes (default: one per core)'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace an earlier synthetic data set in --out'
    )
    parser.add_argument(
        '--contact-sheet',
        type=Path,
        metavar='PNG',
        help='also draw a sheet with examples of each finding',
    )


def run(args: argparse.Namespace) -> int:
    """Writes the data set; returns 0, or 1 if it cannot."""
    from records import terminal
    from records.synth.dataset import SynthError

    try:
        _write(args)
    except (SynthError, OSError) as error:
        return refuse('synth', terminal.error_text(error))
    return 0


def _write(args: argparse.Namespace) -> None:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Table

    from records import terminal
    from records.synth.dataset import write_dataset

    console, errors = terminal.console(), terminal.console(stderr=True)
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=errors, disable=not errors.is_terminal, transient=True
    ) as progress:
        task = progress.add_task('drawing X-rays', total=args.count)
        summary = write_dataset(
            args.out,
            args.count,
            args.seed,
            size=args.size,
            label_noise=args.label_noise,
            first_patient=args.first_patient,
            workers=args.workers,
            overwrite=args.overwrite,
            on_progress=lambda count: progress.update(task, completed=count),
        )
    table = Table('label', 'records', 'share', box=None, padding=(0, 2, 0, 0))
    for name, number in summary.label_counts.items():
        table.add_row(name, str(number), f'{number / summary.records:.1%}')
    console.print(table)
    console.print(
        f'{summary.records} X-rays of {summary.patients} patients in {len(summary.files)} files '
        f'under {summary.out}: '
        f'{summary.image_bytes / summary.records / 1000:.0f} kB per image, {summary.mislabelled} '
        'deliberately wrong labels, '
        f'{summary.seconds:.1f} s ({summary.records / summary.seconds:.0f} images per second)',
        highlight=False,
        soft_wrap=True,
    )
    if args.contact_sheet:
        from records.synth.contact_sheet import findings_sheet

        findings_sheet(args.contact_sheet, seed=args.seed)
        console.print(
            f'examples of each finding: {args.contact_sheet}', highlight=False, soft_wrap=True
        )
