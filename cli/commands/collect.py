"""`cxr-triage collect`: makes a new span of training data from what readers said."""

from __future__ import annotations

import argparse
from pathlib import Path

from cli import service_options as service
from pipeline.exit_codes import NOT_NEEDED, refuse

_SHARE, _NEAR = 0.2, 0.1
WHEN_INTERRUPTED = 'nothing was written; run the same command again'
_EXIT_CODES = """exit codes:
  0  wrote a span
  1  failed; the message says what to do
  4  not needed: there is no new reading
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `collect`."""
    service.add_data_arguments(parser)
    service.add_database_argument(parser)
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='DIR',
        help='the data root; the images become its next span, in span-NNN/',
    )
    parser.add_argument(
        '--patient-key',
        type=Path,
        required=True,
        metavar='FILE',
        help='the secret behind the names of patients, studies, images and readers, outside of the '
        'data; made if the file does not exist and no span was collected before',
    )
    parser.add_argument(
        '--share',
        type=float,
        default=_SHARE,
        metavar='SHARE',
        help='share of the studies to keep whose answer the reader confirmed, far from the '
        f'threshold; all others are kept (default: {_SHARE})',
    )
    parser.add_argument(
        '--near',
        type=float,
        default=_NEAR,
        metavar='DISTANCE',
        help='a probability at this distance from the threshold or more is far from it '
        f'(default: {_NEAR})',
    )
    parser.add_argument(
        '--workers', type=int, metavar='N', help='processes (default: one per core)'
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXIT_CODES


def run(args: argparse.Namespace) -> int:
    """Collects readings; returns 0 for a new span, 4 if there is nothing new, 1 for an error."""
    from cli.root_argument import RootError
    from monitoring import readings, spans
    from records.convert import pseudonyms
    from records.convert.convert import NothingConvertedError
    from records.convert.sources import SourceError
    from records.parallel import default_workers
    from serving import running
    from serving.database.connection import DatabaseError
    from serving.image_files import ImageFiles

    try:
        if not 0 < args.share <= 1 or not 0 <= args.near <= 1:
            raise service.ServiceError(
                f'--share {args.share:g} --near {args.near:g}: expected a share above 0, at most '
                '1, and a distance from 0 to 1'
            )
        data, out, key = service.data_folder(args), args.out, args.patient_key.expanduser()
        sampling = readings.Sampling(args.share, args.near)
        with spans.alone(out):
            earlier = spans.read_earlier(out)
            if earlier.settings and not key.exists():
                raise spans.CollectError(
                    f'--patient-key {key}: no such file, and {out} has spans of an earlier one'
                )
            names, is_new = pseudonyms.load(key, out, data)
            settings = spans.settings(names.fingerprint(), sampling)
            spans.check_same(earlier, settings)
            files = ImageFiles(data / running.IMAGES)
            with service.open_database(args, readonly=True) as session:
                collected = readings.collect(
                    session,
                    files,
                    ImageFiles(data / running.ORIGINS),
                    names,
                    sampling,
                    earlier.studies,
                    earlier.images,
                )
            for why, count in sorted(collected.left_out.items()):
                print(f'left out: {count:,} {why}')
            if not collected.sources:
                print('no span: there is no new reading')
                return NOT_NEEDED
            folder, outcome = spans.write(
                out,
                earlier.last + 1,
                files.folder,
                collected,
                settings,
                args.workers or default_workers(),
            )
    except (
        service.ServiceError,
        spans.CollectError,
        SourceError,
        NothingConvertedError,
        RootError,
        DatabaseError,
        OSError,
    ) as error:
        return refuse('collect', error)
    if outcome.failed:
        print(f'failed: {len(outcome.failed):,} images, see {folder / "convert_report.json"}')
    if is_new:
        print(f'new key: {key}. Keep it: without it, no later reading can be added')
    print(f'{outcome.converted:,} images of {collected.studies:,} studies: {folder}')
    return 0
