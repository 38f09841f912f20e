"""`cxr-triage monitor`: compares the traffic of a served version with a reference."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

from cli import root_argument as roots
from cli import service_options as service
from pipeline.exit_codes import refuse

GOOD, ALARM, ERROR, NOT_DELIVERED = 0, 1, 2, 3
# What `cli.main` returns for an error that nobody expected: 1 would be an alarm.
UNEXPECTED = ERROR
_WINDOW, _ALPHA = 500, 0.01
_FOLDER = 'monitor'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `monitor`."""
    service.add_data_arguments(parser)
    service.add_database_argument(parser)
    parser.add_argument(
        '--version',
        type=int,
        metavar='N',
        dest='model_version',
        help='the version to check (default: the one that answered last)',
    )
    parser.add_argument(
        '--window',
        type=int,
        default=_WINDOW,
        metavar='N',
        help=f'its latest N studies of each site (default: {_WINDOW})',
    )
    parser.add_argument(
        '--site',
        metavar='SITE',
        help="check this site alone; '' for the one without a name (default: all sites)",
    )
    parser.add_argument(
        '--alpha',
        type=float,
        default=_ALPHA,
        metavar='RATE',
        help='the share of checks that may alarm without a cause, between 0.001 and 0.5 '
        f'(default: {_ALPHA})',
    )
    parser.add_argument(
        '--accept',
        action='store_true',
        help='take this window (of each site) as the reference from now on, instead of the test '
        'images: its differences are known and accepted',
    )
    parser.add_argument(
        '--labels',
        type=Path,
        metavar='CSV',
        help='table with the column label (normal, abnormal) and one of accession_number, '
        'study_instance_uid, reference and study, which is compared with the answers',
    )
    parser.add_argument(
        '--webhook',
        metavar='URL',
        help='gets the result as JSON, signed as Standard Webhooks says; needs --webhook-key',
    )
    parser.add_argument(
        '--webhook-key',
        type=Path,
        metavar='FILE',
        help='file with the key of the signature, whsec_KEY',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='folder for page, JSON, metrics and references (default: monitor/ in the folder of '
        '--data)',
    )


def run(args: argparse.Namespace) -> int:
    """Checks once.

    Returns:
      0 if the traffic is as expected, 1 for an alarm, 2 for an error, 3 if the webhook did not
      accept the result.
    """
    from pipeline import quiet

    quiet.before_tfx(verbose=False)
    from components.evaluator.predictions import PredictionsError
    from monitoring import (
        alarm_webhook,
        checks,
        label_table,
        reference,
        report,
        traffic,
        two_sample,
    )
    from pipeline.metadata_file import StoreError
    from serving import person, running, sites
    from serving.database.connection import DatabaseError
    from serving.image_files import ImageFiles
    from serving.pacs.settings import SettingError

    try:
        if not 0.001 <= args.alpha <= 0.5:
            raise service.ServiceError(f'--alpha {args.alpha}: expected 0.001 to 0.5')
        if args.window < two_sample.MIN_GROUPS:
            raise service.ServiceError(
                f'--window {args.window}: expected at least {two_sample.MIN_GROUPS}'
            )
        if bool(args.webhook) != bool(args.webhook_key):
            raise service.ServiceError('--webhook and --webhook-key: give both')
        webhook = alarm_webhook.target(args.webhook, args.webhook_key) if args.webhook else None
        root, data = roots.find(args.root), service.data_folder(args)
        folder = args.out or data / _FOLDER
        table = label_table.read(args.labels) if args.labels else None
        site = None if args.site is None else sites.check(args.site)
        with service.open_database(args, readonly=True) as session:
            result = checks.check(
                session,
                root,
                ImageFiles(data / running.IMAGES),
                folder,
                args.model_version,
                args.window,
                args.alpha,
                accept=person.name() if args.accept else '',
                site=site,
                find_labelled=(
                    functools.partial(label_table.find, session, table, folder=data, site=site)
                    if table
                    else None
                ),
            )
        report.write(folder, result)
    except (
        label_table.LabelTableError,
        traffic.TrafficError,
        reference.ReferenceDataError,
        two_sample.SampleError,
        PredictionsError,
        StoreError,
        roots.RootError,
        sites.SiteError,
        SettingError,
        service.ServiceError,
        DatabaseError,
        OSError,
    ) as error:
        refuse('monitor', error)
        return ERROR
    for line in report.lines(result):
        print(line)
    print(f'{"alarm" if result.is_alarm else "no alarm"}: {folder / report.PAGE}')
    if webhook and (problem := alarm_webhook.send(webhook, result)):
        refuse('monitor', f'--webhook {args.webhook}: {problem}')
        return NOT_DELIVERED
    return ALARM if result.is_alarm else GOOD
