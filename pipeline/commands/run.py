"""`cxr-triage run`: the whole pipeline on this machine."""

from __future__ import annotations

import argparse
import datetime
import os
import sys

from pipeline.exit_codes import FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    parser.add_argument('--config', required=True, metavar='FILE', help='the experiment, e.g. pipeline/configs/nih_triage.yaml')
    parser.add_argument('--data-root', metavar='DIR', help='the folder with the *.tfrec files (data.root)')
    parser.add_argument('--weights', metavar='PATH', help='ImageNet weights of the backbone without its top (model.weights)')
    parser.add_argument('--root', metavar='DIR', help='where artifacts, metadata and the served model go (default: runs/<pipeline>)')
    parser.add_argument('--push-dir', metavar='DIR', help='the directory that TF Serving watches (default: serving/ under the root)')
    parser.add_argument('--set', dest='settings', action='append', default=[], metavar='KEY=VALUE', help='any key, e.g. train.epochs=3')
    parser.add_argument('-v', '--verbose', action='store_true', help='show the logs of TensorFlow, Beam and TFX too')


def run(args: argparse.Namespace) -> int:
    """Runs the pipeline; 0 pushed, 3 not blessed, 1 failed."""
    from rich.console import Console

    from pipeline import config as config_lib
    from pipeline import quiet

    try:
        config = _resolve(
            config_lib.load(
                args.config,
                args.settings,
                data__root=args.data_root,
                model__weights=args.weights,
                root=args.root,
                push__directory=args.push_dir,
            )
        )
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


def _resolve(config):
    """Paths of this machine become absolute: they stand in artifacts and in the cache's keys."""

    def absolute(path: str | None) -> str | None:
        return path if path is None or '://' in path else os.path.abspath(path)

    from pipeline.config import ConfigError

    if config.data.root is None:
        raise ConfigError('no data: give the folder with the *.tfrec files with --data-root, or as data.root in the configuration')
    return config.model_copy(
        update={
            'root': absolute(config.root or os.path.join('runs', config.pipeline)),
            'data': config.data.model_copy(update={'root': absolute(config.data.root)}),
            'model': config.model.model_copy(update={'weights': absolute(config.model.weights)}),
            'push': config.push.model_copy(update={'directory': absolute(config.push.directory)}),
        }
    )
