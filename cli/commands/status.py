"""`cxr-triage status`: shows the steps of a run on Kubeflow."""

from __future__ import annotations

import argparse

from cli import server_options as remote
from pipeline.exit_codes import FAILED, refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `status`."""
    parser.add_argument('run_id', metavar='RUN_ID', help='the id that submit printed')
    parser.add_argument(
        '--follow', action='store_true', help='keep showing the steps until the run has ended'
    )
    remote.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Shows the steps of a run; returns 0, or 1 if it failed, was cancelled or is unknown."""
    from pipeline.kubeflow import display as remote_display
    from pipeline.kubeflow.server_errors import ServerError

    screen = remote.console()
    try:
        server = remote.connect(args)
        if args.follow:
            kubeflow_run = remote.follow(server, args.run_id, screen)
        else:
            kubeflow_run = server.run(args.run_id)
            for step in kubeflow_run.steps:
                screen.print(remote_display.line(step))
            remote_display.conclude(kubeflow_run, screen)
            screen.print(server.link(args.run_id), soft_wrap=True)
    except ServerError as error:
        return refuse('status', error)
    return 0 if kubeflow_run.state == 'SUCCEEDED' or not kubeflow_run.finished else FAILED
