"""`cxr-triage serve`: scores uploaded images and shows a reader's work list."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import tempfile
from pathlib import Path
from typing import Any

from cli import pacs_options as pacs
from cli import root_argument as roots
from cli import service_options as service
from pipeline.exit_codes import refuse

DEFAULT_PORT = 8080
_LOOPBACK = frozenset({'127.0.0.1', 'localhost', '::1'})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `serve`."""
    service.add_arguments(parser)
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
    service.add_database_argument(parser)
    parser.add_argument(
        '--config-file',
        type=Path,
        metavar='FILE',
        help='the models.config of the server of --model-server, which is only read (default: the '
        'one in the push directory, which is made if it is missing)',
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
    parser.add_argument(
        '--retention-days',
        type=int,
        default=0,
        metavar='DAYS',
        help='delete image files of this age; studies, answers and readings stay (default: 0, '
        'which keeps them)',
    )
    parser.add_argument(
        '--site',
        default='',
        metavar='SITE',
        help='the site of studies whose token or DICOM sender has none (default: the one without '
        'a name)',
    )
    pacs.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serves until interrupted; returns 0, or 1 if it cannot serve."""
    from serving import sites
    from serving.gateway.settings import Settings

    is_local = args.host in _LOOPBACK
    if args.tokens == 'off' and not is_local:
        return refuse('serve', f'--tokens off: only on this machine alone, not on {args.host}')
    if args.retention_days < 0:
        return refuse('serve', f'--retention-days {args.retention_days}: expected 0 or more')
    if not 0.0 <= args.canary_share <= 1.0:
        return refuse('serve', f'--canary-share {args.canary_share}: expected 0 to 1')
    try:
        if args.config_file and not (args.model_server and args.config_file.is_file()):
            problem = 'no such file' if args.model_server else 'only with --model-server'
            raise service.ServiceError(f'--config-file {args.config_file}: {problem}')
        target, data = service.target(args), service.data_folder(args)
        address = service.address(args.model_server or '')
        exchange = pacs.settings(args, is_local)
        sites.check(args.site)
    except (
        roots.RootError,
        service.ServiceError,
        pacs.SettingError,
        sites.SiteError,
    ) as error:
        return refuse('serve', error)
    settings = Settings(
        target=str(target),
        model=args.model,
        data=data,
        database=service.database(args, data),
        requires_token=(args.tokens or ('off' if is_local else 'on')) == 'on',
        hosts=tuple(_LOOPBACK) if is_local else (),
        canary_share=args.canary_share,
        retention_days=args.retention_days,
        config_file=args.config_file,
        pacs=exchange,
        site=args.site,
    )
    try:
        _set_up(data)
    except (service.ServiceError, OSError) as error:
        return refuse('serve', error)
    return _serve(args, settings, address)


def _set_up(data: Path) -> None:
    """Makes the folder of the service, and sees to it that nothing about patients gets out."""
    service.make_data_folder(data)
    # Files of more than a megabyte are there while they arrive, without a name.
    incoming = data / 'incoming'
    incoming.mkdir(exist_ok=True, mode=0o700)
    tempfile.tempdir = str(incoming)
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    logging.getLogger('alembic').setLevel(logging.WARNING)
    # Their messages have values of headers in them. A level would not do: pydicom sets its own when
    # it is imported.
    for name in ('pydicom', 'pynetdicom', 'highdicom'):
        logging.getLogger(name).propagate = False
        logging.getLogger(name).addHandler(logging.NullHandler())


def _serve(args: argparse.Namespace, settings: Any, address: str) -> int:
    """Serves with the model server at `address`, or the embedded one if that is ''."""
    from components.pusher.target import TargetError
    from serving import running
    from serving.api.client import ModelServer
    from serving.database import connection
    from serving.embedded import EmbeddedServer
    from serving.gateway.app import create_app
    from serving.gateway.server import GatewayServer, listen
    from serving.gateway.services import Services
    from serving.releases import ReleaseError
    from serving.releases.release import Releases

    # uvicorn raises the signal that ended it once more; by default SIGTERM would skip the clean-up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as open_parts:
        try:
            if settings.database.startswith('sqlite'):
                open_parts.enter_context(running.alone(settings.data))
            listener = open_parts.enter_context(listen(args.host, args.port))
            config = (
                settings.config_file or Releases(Path(settings.target), settings.model).ensure()
            )
            embedded = None
            if not address:
                embedded = EmbeddedServer(config, settings.data / 'model-server.log')
                open_parts.callback(embedded.close)
                address = embedded.address
            services = Services(settings, ModelServer(address))
            open_parts.callback(services.close)
            server = GatewayServer(create_app(services), listener, settings.limits)
            failures = _start(embedded, services, server) if embedded else []
        except (
            running.TwiceError,
            ReleaseError,
            TargetError,
            connection.DatabaseError,
            OSError,
        ) as error:
            return refuse('serve', error)
        open_parts.enter_context(running.recorded(settings.data, address))
        host = f'[{args.host}]' if ':' in args.host else args.host
        print(f'http://{host}:{server.port}/  (Ctrl-C ends it)', flush=True)
        if services.pacs.port is not None:
            print(f'dicom://{settings.pacs.ae_title}@{host}:{services.pacs.port}', flush=True)
        server.run()
        if failures:
            return refuse('serve', failures[0])
    return 0


def _start(embedded: Any, services: Any, server: Any) -> list[Exception]:
    """Starts the embedded model server; meanwhile uploads are accepted, and wait.

    Returns:
      A list that gets the error if it cannot serve; the gateway then ends.
    """
    failures: list[Exception] = []

    def started(error: Exception | None) -> None:
        if error is None:
            services.scorer.try_again()
        else:
            failures.append(error)
            server.stop()

    embedded.start_meanwhile(started)
    return failures
