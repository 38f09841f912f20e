"""Starts the embedded model server: `python -m serving.model_server --config FILE`."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
from concurrent import futures
from pathlib import Path

import grpc

from serving.releases import config_file

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_THREADS = 64
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(argv: list[str] | None = None) -> int:
    """Serves until it gets SIGTERM or SIGINT.

    Prints `listening on PORT` when the models of the configuration are loaded.
    """
    args = _arguments(argv)
    logging.basicConfig(level=logging.INFO, format='model server: %(message)s', stream=sys.stderr)
    if args.parent:
        _end_with(args.parent)
    # Blocked, also in the threads that start later, and awaited below. A handler would be
    # interrupted by the next signal while it holds a lock.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        config = config_file.read(args.config)
    except config_file.ConfigFileError as error:
        print(f'model server: {error}', file=sys.stderr)
        return 1
    # Late: TensorFlow takes seconds, and a wrong option should not.
    from serving.model_server.models import ConfigurationError, Models
    from serving.model_server.service import Service
    from serving.model_server.versions import LoadedVersion

    try:
        models = Models(config, lambda path: LoadedVersion(path, args.max_batch), args.poll_s)
    except ConfigurationError as error:
        print(f'model server: {args.config}: {error}', file=sys.stderr)
        return 1
    server = grpc.server(
        futures.ThreadPoolExecutor(_THREADS),
        options=[
            ('grpc.max_receive_message_length', args.max_message_mb << 20),
            ('grpc.max_send_message_length', args.max_message_mb << 20),
            ('grpc.so_reuseport', 0),
        ],
    )
    server.add_generic_rpc_handlers(Service(models).handlers())
    try:
        port = server.add_insecure_port(f'{args.host}:{args.port}')
    except RuntimeError as error:
        print(f'model server: {args.host}:{args.port}: {error}', file=sys.stderr)
        return 1
    server.start()
    print(f'listening on {port}', flush=True)
    signal.sigwait(_SIGNALS)
    server.stop(grace=5).wait()
    models.close()
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        'python -m serving.model_server', description=__doc__, allow_abbrev=False
    )
    parser.add_argument(
        '--config', type=Path, required=True, metavar='FILE', help="TF Serving's model config file"
    )
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on')
    parser.add_argument('--port', type=int, default=0, help='0 takes a free one')
    parser.add_argument(
        '--max-batch', type=int, default=16, metavar='N', help='images in a batch (default: 16)'
    )
    parser.add_argument(
        '--poll-s', type=float, default=1.0, metavar='S', help='seconds between looks at the folder'
    )
    parser.add_argument(
        '--max-message-mb', type=int, default=256, metavar='N', help='largest request or response'
    )
    parser.add_argument('--parent', type=int, default=0, metavar='PID', help='process to end with')
    return parser.parse_args(argv)


def _end_with(parent: int) -> None:
    """Has the kernel kill this process with its parent, also while it loads a model."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f'model server: process {parent}, which started this one, has ended')


if __name__ == '__main__':
    sys.exit(main())
