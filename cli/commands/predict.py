"""`cxr-triage predict`: scores image files."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli import root_argument as roots
from cli import service_options as service
from components.serving_check.parameters import MODEL_NAME
from pipeline.exit_codes import refuse

if TYPE_CHECKING:
    from rich.console import Console

    from serving.predictions.models import Model
    from serving.predictions.scoring import Answer

WHEN_INTERRUPTED = 'nothing was written'
_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `predict`."""
    parser.add_argument(
        'images',
        nargs='+',
        metavar='PATH',
        help='a PNG, JPEG or DICOM file, or a folder with such files at any depth',
    )
    model = parser.add_mutually_exclusive_group()
    roots.add_argument(model)
    model.add_argument(
        '--target', type=Path, metavar='DIR', help='a push directory; its newest version scores'
    )
    model.add_argument('--version', type=Path, metavar='DIR', help='the folder of a pushed version')
    model.add_argument(
        '--model-server',
        metavar='grpc://HOST:PORT',
        help='a TF Serving or `cxr-triage serve`; its newest version scores',
    )
    parser.add_argument(
        '--model',
        default=MODEL_NAME,
        metavar='NAME',
        help=f'name of the model on the model server (default: {MODEL_NAME})',
    )
    for kind, text in (
        ('csv', 'write a table of all files'),
        ('json', 'write the same as JSON'),
        ('html', 'write one page with thumbnails and heat maps'),
    ):
        parser.add_argument(f'--{kind}', type=Path, metavar='FILE', help=text)
    parser.add_argument(
        '--html-images',
        type=int,
        default=200,
        metavar='N',
        help='the most images on the page, from the highest probability down (default: 200)',
    )


def run(args: argparse.Namespace) -> int:
    """Scores the images; returns 0, or 1 after an error or if a file was not assessed."""
    from pipeline import quiet
    from records import terminal
    from serving.predictions import files
    from serving.predictions.models import ModelError

    quiet.before_tfx(verbose=False)
    try:
        _check_outputs(args)
        listing = files.find(args.images)
        if listing.ignored:
            _note(listing.ignored)
        model = _model(args)
        answers = _score(args, model, listing.files)
    except (roots.RootError, service.ServiceError, files.FilesError, ModelError) as error:
        return refuse('predict', error)
    except OSError as error:
        return refuse('predict', terminal.error_text(error))
    _show(args, model, answers)
    unread = sum(answer.probability is None for answer in answers)
    if unread:
        return refuse(
            'predict',
            f'{unread:,} of {len(answers):,} files were not assessed; a reader has to look at them',
        )
    return 0


def _check_outputs(args: argparse.Namespace) -> None:
    """Finds out before the work whether its results can be written.

    Raises:
      FilesError, OSError: they cannot.
    """
    from serving.predictions.files import FilesError

    if args.html_images < 0:
        raise FilesError(f'--html-images is {args.html_images}: expected 0 or more')
    for option in ('csv', 'json', 'html'):
        path = getattr(args, option)
        if path is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            reason = 'is a folder' if path.is_dir() else 'its folder cannot be written to'
            raise FilesError(f'--{option} {path}: {reason}. Give another file')


def _model(args: argparse.Namespace) -> Model:
    from pipeline.run_root import RunRoot
    from serving.api.client import ModelServer
    from serving.predictions import models

    if args.model_server is not None:
        address = service.address(args.model_server)
        if not address:
            raise service.ServiceError('--model-server is empty: expected grpc://HOST:PORT')
        return models.RemoteModel(ModelServer(address), args.model)
    if args.version is not None:
        return models.LoadedModel(args.version)
    target = service.target(args) if args.target else RunRoot(roots.find(args.root)).serving
    return models.LoadedModel(models.newest_folder(str(target)))


def _score(args: argparse.Namespace, model: Model, paths: Sequence[str]) -> list[Answer]:
    """Scores the images, and writes the results."""
    from records.layout import write_atomically
    from serving.predictions import page, scoring, table

    with _progress('scoring', len(paths)) as advance:
        answers = scoring.score(model, paths, advance)
    if args.csv:
        write_atomically(args.csv, table.to_csv(model, answers))
    if args.json:
        write_atomically(args.json, table.to_json(model, answers))
    if args.html:
        with _progress('drawing', min(args.html_images, len(answers))) as advance:
            content = page.build(model, answers, args.html_images, advance)
        write_atomically(args.html, content)
    return answers


@contextlib.contextmanager
def _progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from records import terminal

    console = terminal.console(stderr=True)
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        task = progress.add_task(text, total=total)
        yield lambda count: progress.advance(task, count)


def _note(ignored) -> None:
    from records import terminal, walking

    terminal.console(stderr=True, soft_wrap=True).print(
        f'Note: left out as no images: {walking.format_counts(ignored)}', highlight=False
    )


def _show(args: argparse.Namespace, model: Model, answers: Sequence[Answer]) -> None:
    from records import terminal

    console = terminal.console()
    unread = [answer for answer in answers if answer.probability is None]
    scored = answers[len(unread) :]
    if unread:
        _print_table(console, 'Not assessed', unread, 'reason')
    if scored:
        _print_table(console, f'Version {model.version}', scored, 'warning')
    flagged = sum(answer.flag for answer in scored)
    console.print(f'{len(scored):,} images scored, {flagged:,} of them flagged', highlight=False)
    for path in filter(None, (args.csv, args.json, args.html)):
        console.print(f'Written: {path}', highlight=False, soft_wrap=True, markup=False)


def _print_table(console: Console, title: str, answers: Sequence[Answer], text: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify='left')
    table.add_column('file', overflow='fold')
    if text == 'warning':
        table.add_column('probability', justify='right')
        table.add_column('flag')
    table.add_column(text)
    for answer in answers[:_SHOWN]:
        cells = [escape(answer.file)]
        if answer.probability is not None:
            cells += [f'{answer.probability:.4f}', 'flagged' if answer.flag else '']
        table.add_row(*cells, escape(getattr(answer, text)))
    console.print(table)
    if len(answers) > _SHOWN:
        console.print(f'… and {len(answers) - _SHOWN:,} more', highlight=False)
