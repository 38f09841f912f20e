"""`cxr-triage ui`: serves the pages of a root, always up to date."""

from __future__ import annotations

import argparse
import logging

from cli import root_argument as roots
from pipeline.exit_codes import refuse

DEFAULT_PORT = 8088


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `ui`."""
    roots.add_argument(parser)
    parser.add_argument(
        '--port',
        type=int,
        default=DEFAULT_PORT,
        metavar='N',
        help=f'port on this machine (default: {DEFAULT_PORT}; 0: any free one)',
    )


def run(args: argparse.Namespace) -> int:
    """Serves until interrupted; returns 0, or 1 if it cannot serve."""
    from pipeline import quiet

    try:
        root = roots.find(args.root)
    except roots.RootError as error:
        return refuse('ui', error)
    quiet.before_tfx(verbose=False)
    from pages import serve

    logging.basicConfig(level=logging.ERROR, format='%(message)s')
    try:
        server = serve.server(root, args.port)
    except (OSError, OverflowError, RuntimeError) as error:
        return refuse(
            'ui',
            f'{error} (port {args.port}; another one: --port N)'
            if isinstance(error, OSError | OverflowError)
            else error,
        )
    print(f'http://localhost:{server.server_port}/  ({root}; Ctrl-C ends it)', flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0
