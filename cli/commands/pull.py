"""`cxr-triage pull`: has an archive send its studies to a gateway."""

from __future__ import annotations

import argparse
import re

from pipeline.exit_codes import refuse
from serving.pacs.settings import DEFAULT_AE_TITLE, SettingError, Target

_DATES = re.compile(r'\d{8}(-\d{8})?')
_MODALITIES = ['CR', 'DX']


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `pull`."""
    parser.add_argument('archive', metavar='dicom://TITLE@HOST:PORT', help='where the archive is')
    parser.add_argument(
        '--dates',
        required=True,
        metavar='YYYYMMDD[-YYYYMMDD]',
        help='images of this day, or from one day to the other',
    )
    parser.add_argument(
        '--modality',
        action='append',
        metavar='CODE',
        help=f'series of such images; repeat it (default: {", ".join(_MODALITIES)})',
    )
    parser.add_argument(
        '--to',
        default=DEFAULT_AE_TITLE,
        metavar='TITLE',
        help='AE title of the gateway, which the archive has to know with its address '
        f'(default: {DEFAULT_AE_TITLE})',
    )


def run(args: argparse.Namespace) -> int:
    """Asks for the studies; returns 0, or 1 if one was not sent completely."""
    from serving.pacs import pulling

    try:
        peer = Target.parse(args.archive).peer
        if peer is None or args.archive.startswith('dicoms'):
            raise SettingError(f'{args.archive!r}: expected dicom://TITLE@HOST:PORT')
    except SettingError as error:
        return refuse('pull', error)
    if not _DATES.fullmatch(args.dates):
        return refuse('pull', f'--dates {args.dates}: expected YYYYMMDD or YYYYMMDD-YYYYMMDD')
    try:
        archive = pulling.ArchiveQuery(peer, args.to)
    except pulling.ArchiveError as error:
        return refuse('pull', error)
    sent = failed = 0
    try:
        all_series = list(archive.series(args.dates, args.modality or _MODALITIES))
        for study, series in all_series:
            moved = archive.move(study, series, args.to)
            sent, failed = sent + moved.sent, failed + moved.failed + (not moved.sent)
            problem = f', {moved.failed} not sent: {moved.problem}' if moved.problem else ''
            print(f'{study}: {moved.sent} images{problem}', flush=True)
    except pulling.ArchiveError as error:
        return refuse('pull', error)
    finally:
        archive.close()
    print(f'{len(all_series)} series, {sent} images sent')
    return 1 if failed else 0
