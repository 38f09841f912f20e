"""`cxr-triage status`: how a run on Kubeflow stands."""

from __future__ import annotations

import argparse

from cli import server_options as remote
from pipeline.exit_codes import FAILED, PUSHED, refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `status`."""
    parser.add_argument('run_id', metavar='RUN_ID', help='as submit told it')
    parser.add_argument('--follow', action='store_true', help='until the run has ended')
    remote.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Shows the steps of a run; 0 it succeeded or is under way, 1 it failed, was cancelled or is
    not known.
    """
    from pipeline.kubeflow import display as remote_display
    from pipeline.kubeflow.server_errors import ServerError

    screen = remote.console()
    try:
        server = remote.connect(args)
        if args.follow:
            found = remote.follow(server, args.run_id, screen)
        else:
            found = server.run(args.run_id)
            for step in found.steps:
                screen.print(remote_display.line(step))
            remote_display.conclude(found, screen)
            screen.print(server.link(args.run_id), soft_wrap=True)
    except ServerError as error:
        return refuse('status', error)
    return PUSHED if found.state == 'SUCCEEDED' or not found.finished else FAILED
