"""What the commands for Kubeflow share: the connection options, and the display of a run."""

from __future__ import annotations

import argparse
import logging
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a connection."""
    description = (
        "Google's inverse proxy (*.googleusercontent.com) needs no option: kfp takes your gcloud "
        'login.'
    )
    group = parser.add_argument_group('Kubeflow', description)
    group.add_argument(
        '--host',
        metavar='URL',
        help='the API server (default: KF_PIPELINES_ENDPOINT), e.g. http://localhost:8080',
    )
    group.add_argument(
        '--namespace', metavar='NAME', help='your namespace, if the server has several users'
    )
    group.add_argument(
        '--token-file', metavar='FILE', help='file with a bearer token, read for each request'
    )
    group.add_argument(
        '--iap-client-id', metavar='ID', help="OAuth client of Google's Identity-Aware Proxy"
    )
    group.add_argument('--ca-file', metavar='FILE', help='certificates that TLS trusts')


def connect(args: argparse.Namespace):
    """Connects to the API server.

    Raises:
      ServerError: it does not answer.
    """
    from pipeline.kubeflow import client

    # kfp also logs the errors that this program reports itself.
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    return client.Server(
        client.Connection(
            client.host(args.host),
            args.namespace,
            args.token_file,
            args.iap_client_id,
            args.ca_file,
        )
    )


def console():
    """The console for runs; without a terminal, it has 160 columns."""
    from records import terminal

    # The client replaces sys.stdout while kfp runs, so name the present file.
    return terminal.console(
        file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160
    )


def follow(server, run_id: str, screen):
    """Shows the steps of a run until it has ended, and returns the run.

    Raises:
      ServerError: the server no longer answers.
    """
    from pipeline.kubeflow import display as remote_display

    try:
        run = remote_display.Follower(screen).follow(lambda: server.run(run_id))
    except KeyboardInterrupt:
        screen.print(
            f'\nThe run goes on. cxr-triage status {run_id} --follow shows it again, cxr-triage '
            f'cancel {run_id} cancels it.'
        )
        raise
    remote_display.conclude(run, screen)
    return run
