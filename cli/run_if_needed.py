"""The options of `cxr-triage run` that let a schedule run only what is needed."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        '--if-needed',
        action='store_true',
        help='run only if data, configuration or code changed since the last run of the root; '
        'else end with exit code 4',
    )
    parser.add_argument(
        '--alarm',
        type=Path,
        metavar='FILE',
        help='with --if-needed: run also if this monitor.json has an alarm since then',
    )
    parser.add_argument(
        '--max-age',
        type=float,
        metavar='DAYS',
        help='with --if-needed: run also if the last run is older',
    )


def check(args: argparse.Namespace) -> None:
    """Checks the options before anything is read.

    Raises:
      ConfigError: an option needs --if-needed, or has no valid value.
    """
    from pipeline.config import ConfigError

    for name, value in (('--alarm', args.alarm), ('--max-age', args.max_age)):
        if value is not None and not args.if_needed:
            raise ConfigError(f'{name} says when --if-needed runs: give --if-needed too')
    # A NaN is not above 0 either.
    if args.max_age is not None and not args.max_age > 0:
        raise ConfigError(f'--max-age {args.max_age:g}: expected a number of days above 0')


def reasons(args: argparse.Namespace, config) -> list[str]:
    """Why a run is needed, in sentences; empty if it is not.

    Raises:
      ConfigError: the data or the file of `--alarm` cannot be read.
    """
    from pipeline import run_inputs, run_need, run_record
    from pipeline.config import ConfigError
    from records.data_root import DataRootError
    from records.terminal import error_text

    try:
        alarm = run_need.read_alarm(args.alarm) if args.alarm else None
        last = run_need.last_finished(run_record.read_all(Path(config.root)), config.pipeline)
        return run_need.reasons(
            run_inputs.read(config),
            config.settings(),
            last,
            now=datetime.datetime.now().astimezone(),
            alarm=alarm,
            max_age_days=args.max_age,
        )
    except (DataRootError, run_need.AlarmError) as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise ConfigError(error_text(error)) from None
