"""`cxr-triage cancel`: ends a run on Kubeflow."""

from __future__ import annotations

import argparse

from cli import server_options as remote
from pipeline.exit_codes import refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `cancel`."""
    parser.add_argument('run_id', metavar='RUN_ID', help='as submit told it')
    remote.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Asks for the end of a run; 0 it will end, 1 it has ended already or is not known."""
    from pipeline.kubeflow.server_errors import ServerError

    try:
        server = remote.connect(args)
        found = server.run(args.run_id)
        if found.finished:
            raise ServerError(f'{found.name} has ended already: {found.state.lower()}')
        if found.state != 'CANCELING':
            server.cancel(args.run_id)
    except ServerError as error:
        return refuse('cancel', error)
    print(f'{found.name} is being cancelled. What its steps have finished stays in the cache.')
    return 0
