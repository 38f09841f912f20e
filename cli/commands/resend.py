"""`cxr-triage resend`: has the gateway send reports again."""

from __future__ import annotations

import argparse
import datetime
import sys

from cli import date_span
from cli import root_argument as roots
from cli import service_options as service
from pipeline.exit_codes import FAILED, refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `resend`."""
    service.add_data_arguments(parser)
    service.add_database_argument(parser)
    parser.add_argument('--study', default='', metavar='ID', help='about this study')
    parser.add_argument(
        '--dates',
        metavar=date_span.FORM,
        help='about studies that arrived at the gateway on this day, or from one day to the other, '
        'by the clock of this machine',
    )
    parser.add_argument(
        '--target',
        default='',
        metavar='URL',
        help='to this target, as the log names it, without a password (default: to all targets)',
    )
    parser.add_argument(
        '--given-up', action='store_true', help='only those that the gateway has given up'
    )


def run(args: argparse.Namespace) -> int:
    """Marks the reports; returns 0, or 1 if some cannot be made again or on an error."""
    from serving import person, studies
    from serving.database.connection import DatabaseError
    from serving.pacs import resending

    if not (args.study or args.dates or args.target or args.given_up):
        return refuse('resend', 'say which reports: --study, --dates, --target or --given-up')
    try:
        since, before = _times(args.dates) if args.dates else (None, None)
        selection = resending.Selection(args.study, args.target, since, before, args.given_up)
        with service.open_database(args) as session:
            known = resending.targets(session)
            if args.target and args.target not in known:
                names = ', '.join(known) or 'none'
                return refuse('resend', f'--target {args.target}: no reports. Targets: {names}')
            if args.study and studies.find(session, args.study) is None:
                return refuse('resend', f'--study {args.study}: no such study')
            resent = resending.resend(session, selection, person.name())
    except (roots.RootError, service.ServiceError, date_span.DateSpanError, DatabaseError) as error:
        return refuse('resend', error)
    for target, count in sorted(resent.again.items()):
        print(f'{target}: {count} reports to be sent again')
    for target, count in sorted(resent.without_files.items()):
        text = f'{target}: {count} reports not sent, as the files of their studies are deleted'
        print(text, file=sys.stderr)
    if not resent.again and not resent.without_files:
        print('no reports')
    return FAILED if resent.without_files else 0


def _times(dates: str) -> tuple[datetime.datetime, datetime.datetime]:
    """The first moment of the first day, and that after the last day."""
    first, last = date_span.parse(dates)
    days = first, last + datetime.timedelta(days=1)
    since, before = (datetime.datetime.combine(day, datetime.time()).astimezone() for day in days)
    return since, before
