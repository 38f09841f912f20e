"""`cxr-triage serve`: scores uploaded images and shows a reader's work list."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import Any

from cli import root_argument as roots
from pipeline.exit_codes import FAILED, refuse
from pipeline.run_root import RunRoot

DEFAULT_PORT = 8080
_LOOPBACK = frozenset({'127.0.0.1', 'localhost', '::1'})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `serve`."""
    roots.add_argument(parser)
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen on (default: this machine alone)'
    )
    parser.add_argument(
        '--port',
        type=int,
        default=DEFAULT_PORT,
        metavar='N',
        help=f'port to listen on (default: {DEFAULT_PORT}; 0: any free one)',
    )
    parser.add_argument(
        '--model-server',
        metavar='grpc://HOST:PORT',
        help='a TF Serving that serves the push directory (default: an embedded one)',
    )
    parser.add_argument('--model', default='triage', metavar='NAME', help='name of the model there')
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DIR',
        help='folder for database, images and logs (default: ROOT/service)',
    )
    parser.add_argument(
        '--database',
        metavar='URL',
        default=os.environ.get('CXR_DATABASE'),
        help='postgresql://USER:PASSWORD@HOST/NAME (default: SQLite in the folder of --data; also '
        'from CXR_DATABASE, which keeps the password out of the list of processes)',
    )
    parser.add_argument(
        '--tokens',
        choices=('on', 'off'),
        help='whether callers need a token (default: off on this machine alone, on elsewhere)',
    )
    parser.add_argument(
        '--canary-share',
        type=float,
        default=0.0,
        metavar='SHARE',
        help='share of studies, 0..1, that the canary version answers too (default: 0)',
    )


def run(args: argparse.Namespace) -> int:
    """Serves until interrupted; returns 0, or 1 if it cannot serve."""
    from serving.gateway.settings import Settings

    is_local = args.host in _LOOPBACK
    if args.tokens == 'off' and not is_local:
        return refuse('serve', f'--tokens off: only on this machine alone, not on {args.host}')
    if not 0.0 <= args.canary_share <= 1.0:
        return refuse('serve', f'--canary-share {args.canary_share}: expected 0 to 1')
    try:
        root = roots.find(args.root)
    except roots.RootError as error:
        return refuse('serve', error)
    data = args.data or root / 'service'
    settings = Settings(
        target=str(RunRoot(root).serving),
        model=args.model,
        data=data,
        database=args.database or f'sqlite:///{data / "gateway.sqlite"}',
        requires_token=(args.tokens or ('off' if is_local else 'on')) == 'on',
        hosts=tuple(_LOOPBACK) if is_local else (),
        canary_share=args.canary_share,
    )
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    return _serve(args, settings)


def _serve(args: argparse.Namespace, settings: Any) -> int:
    from serving import releases
    from serving.api.client import ModelServer
    from serving.database.connection import DatabaseError
    from serving.embedded import EmbeddedServer, EmbeddedServerError
    from serving.gateway.app import create_app
    from serving.gateway.server import GatewayServer
    from serving.gateway.services import Services

    embedded = None
    try:
        config = releases.ensure_config(settings.target, settings.model)
        if args.model_server:
            address = args.model_server.removeprefix('grpc://')
        else:
            embedded = EmbeddedServer(config, settings.data / 'model-server.log')
            address = embedded.address
        services = Services(settings, ModelServer(address))
        try:
            server = GatewayServer(create_app(services), args.host, args.port)
            print(f'http://{args.host}:{server.port}/  (Ctrl-C ends it)', flush=True)
            server.run()
        finally:
            services.close()
    except (releases.ReleaseError, EmbeddedServerError, DatabaseError, OSError) as error:
        refuse('serve', error)
        return FAILED
    finally:
        if embedded:
            embedded.close()
    return 0
