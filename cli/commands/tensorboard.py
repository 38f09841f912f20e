"""`cxr-triage tensorboard`: TensorBoard over the trainings of a root."""

from __future__ import annotations

import argparse
import socket

from cli import root_argument as roots
from pages import own_host
from pipeline.exit_codes import FAILED, refuse
from pipeline.run_root import RunRoot
from pipeline.steps import TRAINER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tensorboard`."""
    roots.add_argument(parser)
    parser.add_argument(
        '--port',
        type=int,
        default=6006,
        metavar='N',
        help='where to serve on this machine (default: 6006)',
    )


def run(args: argparse.Namespace) -> int:
    """Serves until it is interrupted; 1 when there is nothing to show, or it cannot."""
    from pipeline import quiet

    try:
        root = roots.find(args.root)
    except roots.RootError as error:
        return refuse('tensorboard', error)
    logs = RunRoot(root).artifacts / TRAINER.name / 'model_run'
    if not logs.is_dir():
        return refuse(
            'tensorboard', f'{logs} is not there: no run of this root finished a training'
        )
    quiet.before_tensorflow(verbose=False)
    from tensorboard import program

    serve = program.create_port_scanning_werkzeug_server
    server = program.TensorBoard(
        server_class=lambda application, flags: serve(own_host.guarded(application), flags)
    )
    server.configure(argv=('tensorboard', '--logdir', str(logs), '--port', str(args.port)))
    try:
        # Ctrl-C ends it with 0; what it cannot do it has said.
        return FAILED if server.main() else 0
    except socket.gaierror:
        # Whatever address it is given, it asks for localhost by name to see whether the port is
        # taken.
        return refuse(
            'tensorboard',
            'localhost has no address here, and TensorBoard needs it: add `127.0.0.1 localhost` '
            'to /etc/hosts',
        )
