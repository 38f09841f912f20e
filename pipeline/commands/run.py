"""`cxr-triage run`: the whole pipeline on this machine."""

from __future__ import annotations

import argparse
import datetime
import os
import sys

from pipeline.commands import options
from pipeline.exit_codes import FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    options.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the pipeline; 0 pushed, 3 not blessed, 1 failed."""
    from rich.console import Console

    from pipeline import config as config_lib
    from pipeline import quiet

    try:
        config = options.configuration(args)
    except config_lib.ConfigError as error:
        print(f'cxr-triage run: {error}', file=sys.stderr)  # noqa: T201
        return FAILED
    quiet.before_tensorflow(args.verbose)
    now = datetime.datetime.now()
    log = os.path.join(config.root, 'logs', f'{now:%Y%m%d-%H%M%S}.log')
    try:
        with quiet.logs_to(log, args.verbose) as screen:
            # Tables of a log file are not cut to 80 columns.
            console = Console(file=screen, highlight=False, width=None if screen.isatty() else 160)
            console.print(f'[bold]{config.pipeline}[/]  {config.data.root}  ->  {config.root}', soft_wrap=True)
            with console.status('starting TensorFlow and TFX'):
                from pipeline import execute
            return execute.execute(config, now.isoformat(timespec='microseconds'), console, log)
    except OSError as error:
        # The log itself could not be written.
        print(f'cxr-triage run: {error}. Give a directory that can be written to with --root.', file=sys.stderr)  # noqa: T201
        return FAILED
