"""`cxr-triage cancel`: ends a run on Kubeflow."""

from __future__ import annotations

import argparse

from cli import server_options as remote
from pipeline.exit_codes import refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `cancel`."""
    parser.add_argument('run_id', metavar='RUN_ID', help='the id that submit printed')
    remote.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Cancels a run; returns 0, or 1 if it has already ended or is unknown."""
    from pipeline.kubeflow.server_errors import ServerError

    try:
        server = remote.connect(args)
        kubeflow_run = server.run(args.run_id)
        if kubeflow_run.finished:
            raise ServerError(
                f'{kubeflow_run.name} has already ended: {kubeflow_run.state.lower()}'
            )
        if kubeflow_run.state != 'CANCELING':
            server.cancel(args.run_id)
    except ServerError as error:
        return refuse('cancel', error)
    print(f'{kubeflow_run.name} is being cancelled. The results of finished steps stay cached.')
    return 0
