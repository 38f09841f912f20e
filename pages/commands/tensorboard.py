"""`cxr-triage tensorboard`: TensorBoard over the trainings of a root."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from pages.commands import roots
from pipeline.exit_codes import refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tensorboard`."""
    roots.add_argument(parser)
    parser.add_argument('--port', type=int, default=6006, metavar='N', help='where to serve on this machine (default: 6006)')


def run(args: argparse.Namespace) -> int:
    """Serves until it is interrupted; 1 when there is nothing to show."""
    try:
        root = roots.find(args.root)
    except roots.RootError as error:
        return refuse('tensorboard', error)
    logs = root / 'artifacts' / 'Trainer' / 'model_run'
    if not logs.is_dir():
        return refuse('tensorboard', f'{logs} is not there: no run of this root came to the end of a training')
    command = [sys.executable, '-m', 'tensorboard.main', '--logdir', str(logs), '--port', str(args.port)]
    # A process of its own: it takes signals and logging for itself.
    return subprocess.run(command, env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'}, check=False).returncode
