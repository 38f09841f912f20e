"""What the commands that talk to Kubeflow have in common: where its API server is, and how a run is
shown.
"""

from __future__ import annotations

import argparse
import logging
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a connection."""
    description = (
        "Google's inverse proxy (*.googleusercontent.com) needs no option: kfp takes your gcloud "
        'login.'
    )
    group = parser.add_argument_group('Kubeflow', description)
    group.add_argument(
        '--host',
        metavar='URL',
        help='of the API server (default: KF_PIPELINES_ENDPOINT), e.g. http://localhost:8080',
    )
    group.add_argument(
        '--namespace', metavar='NAME', help='yours, where Kubeflow Pipelines serves several users'
    )
    group.add_argument(
        '--token-file', metavar='FILE', help='a bearer token, read anew for each request'
    )
    group.add_argument(
        '--iap-client-id', metavar='ID', help="OAuth client of Google's Identity-Aware Proxy"
    )
    group.add_argument('--ca-file', metavar='FILE', help='certificates that TLS trusts')


def connect(args: argparse.Namespace):
    """A server that answered.

    Raises:
      ServerError: it did not.
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
    """Where a person looks; a log file is not cut to 80 columns."""
    from records import terminal

    # This very file: while kfp is asked, another stands in for standard output.
    return terminal.console(
        file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160
    )


def follow(server, run_id: str, screen):
    """Shows a run until it has ended, and returns it.

    Raises:
      ServerError: it cannot be asked for any more.
    """
    from pipeline.kubeflow import display as remote_display

    try:
        run = remote_display.Follower(screen).follow(lambda: server.run(run_id))
    except KeyboardInterrupt:
        screen.print(
            f'\nThe run goes on. cxr-triage status {run_id} --follow looks again, cxr-triage '
            f'cancel {run_id} ends it.'
        )
        raise
    remote_display.conclude(run, screen)
    return run
