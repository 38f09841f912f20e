"""`cxr-triage tensorboard`: shows the trainings of a root in TensorBoard."""

from __future__ import annotations

import argparse
import pathlib
import socket
import tempfile

from cli import root_argument as roots
from pages import own_host
from pipeline.exit_codes import FAILED, refuse

DEFAULT_PORT = 6006


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tensorboard`."""
    roots.add_argument(parser)
    parser.add_argument(
        '--port',
        type=int,
        default=DEFAULT_PORT,
        metavar='N',
        help=f'port on this machine (default: {DEFAULT_PORT})',
    )


def run(args: argparse.Namespace) -> int:
    """Serves until interrupted; returns 0, or 1 if it cannot serve or has nothing to show."""
    from pipeline import quiet

    try:
        root = roots.find(args.root)
    except roots.RootError as error:
        return refuse('tensorboard', error)
    quiet.before_tensorflow(verbose=False)
    from pages import training_logs

    with tempfile.TemporaryDirectory(prefix='cxr-triage-tensorboard-') as folder:
        links = training_logs.Links(root, pathlib.Path(folder))
        try:
            links.update()
        except (RuntimeError, OSError) as error:
            return refuse('tensorboard', error)
        if not any(pathlib.Path(folder).iterdir()):
            return refuse('tensorboard', f'{root}: no run of this root began a training')
        links.follow()
        return _serve(folder, args.port)


def _serve(logs: str, port: int) -> int:
    from tensorboard import program

    serve = program.create_port_scanning_werkzeug_server
    server = program.TensorBoard(
        server_class=lambda application, flags: serve(own_host.guarded(application), flags)
    )
    server.configure(argv=('tensorboard', '--logdir', logs, '--port', str(port)))
    try:
        # Ctrl-C ends it with 0. TensorBoard prints its own errors.
        return FAILED if server.main() else 0
    except socket.gaierror:
        # TensorBoard always looks up `localhost`, to see whether the port is in use.
        return refuse(
            'tensorboard',
            'TensorBoard cannot look up localhost: add `127.0.0.1 localhost` to /etc/hosts',
        )
