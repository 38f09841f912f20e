"""`cxr-triage pull`: brings studies that an archive holds to a gateway."""

from __future__ import annotations

import argparse
import dataclasses
import ssl
import sys
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

from cli import date_span
from cli import pacs_options as pacs
from pipeline.exit_codes import refuse
from serving.pacs.settings import DEFAULT_AE_TITLE, Kind, Peer, SettingError, Target, Tls

if TYPE_CHECKING:
    from serving.pacs.pulling import ArchiveQuery
    from serving.pacs.web_pulling import WebArchiveQuery

_MODALITIES = ['CR', 'DX']
_DEFAULT_URL = 'http://127.0.0.1:8080'
_FORMS = 'dicom://TITLE@HOST:PORT, dicoms://TITLE@HOST:PORT or https://HOST/PATH'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `pull`."""
    parser.add_argument(
        'archive',
        metavar='URL',
        help='where the archive is: dicom://TITLE@HOST:PORT or dicoms://TITLE@HOST:PORT, which '
        'sends to the gateway by C-STORE, or https://HOST/PATH for DICOMweb, from which this '
        'command fetches',
    )
    parser.add_argument(
        '--dates',
        required=True,
        metavar=date_span.FORM,
        help='studies of this day, or from one day to the other',
    )
    parser.add_argument(
        '--modality',
        action='append',
        metavar='CODE',
        help=f'series of such images; repeat it (default: {", ".join(_MODALITIES)})',
    )
    parser.add_argument(
        '--to',
        metavar='GATEWAY',
        help='the gateway: for C-MOVE its AE title, which the archive has to know with its address '
        f'(default: {DEFAULT_AE_TITLE}); for DICOMweb its URL (default: {_DEFAULT_URL})',
    )
    parser.add_argument(
        '--credentials',
        type=Path,
        metavar='FILE',
        help='for DICOMweb: a file with USER:PASSWORD or a bearer token of the archive',
    )
    parser.add_argument(
        '--token',
        type=Path,
        metavar='FILE',
        help='for DICOMweb: a file with a token of the gateway that has the role upload',
    )
    pacs.add_tls_argument(
        parser,
        'PEM files for dicoms:// and https:// archives: the certificate and key of this side, and '
        'who signs that of the archive (default for https: the authorities of the system)',
    )


def run(args: argparse.Namespace) -> int:
    """Brings the studies; returns 0, or 1 if an image did not arrive."""
    from serving.pacs.gateway_client import GatewayError
    from serving.pacs.pulling import ArchiveError

    count = sent = known = 0
    is_complete = True
    try:
        date_span.parse(args.dates)
        archive = _archive(args)
    except (SettingError, date_span.DateSpanError, ArchiveError) as error:
        return refuse('pull', error)
    try:
        for moved in archive.pull(args.dates, args.modality or _MODALITIES):
            count, sent, known = count + 1, sent + moved.sent, known + moved.known
            is_complete &= moved.is_complete
            there = f', {moved.known} already there' if moved.known else ''
            failed = f', {moved.failed} not sent' if moved.failed or moved.problem else ''
            problem = f': {moved.problem}' if moved.problem else ''
            print(f'{moved.study}: {moved.sent} images{there}{failed}{problem}', flush=True)
            for image, reason in moved.of_images.items():
                print(f'{moved.study}: image {image}: {reason}', file=sys.stderr, flush=True)
    except (ArchiveError, GatewayError) as error:
        return refuse('pull', error)
    finally:
        archive.close()
    there = f', {known} already there' if known else ''
    print(f'{count} series, {sent} images sent{there}')
    return 0 if is_complete else 1


def _archive(args: argparse.Namespace) -> ArchiveQuery | WebArchiveQuery:
    """The archive of the options.

    Raises:
      SettingError: an option has another form, or does not fit the others.
      ArchiveError: it does not take the association.
    """
    target = Target.parse(args.archive)
    tls = Tls(*args.dicom_tls) if args.dicom_tls else None
    context = tls.for_client() if tls else None
    if target.kind is Kind.STOW_RS:
        return _web_archive(args, target, context)
    if target.peer is None:
        raise SettingError(f'{target.name}: expected {_FORMS}')
    if target.is_tls and not tls:
        raise SettingError(f'{target.name}: needs --dicom-tls')
    if args.credentials or args.token:
        raise SettingError('--credentials and --token: only for archives with DICOMweb')
    from serving.pacs.pulling import ArchiveQuery

    title = Peer.parse(args.to or DEFAULT_AE_TITLE).ae_title
    return ArchiveQuery(target.peer, title, tls if target.is_tls else None)


def _web_archive(
    args: argparse.Namespace, target: Target, context: ssl.SSLContext | None
) -> WebArchiveQuery:
    from serving.gateway.settings import Limits as GatewayLimits
    from serving.pacs.gateway_client import GatewayClient
    from serving.pacs.web_pulling import Limits, WebArchiveQuery

    url = args.to or _DEFAULT_URL
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ('http', 'https') or not parts.hostname or '@' in parts.netloc:
        raise SettingError(f'--to {url}: expected the URL of the gateway, such as {_DEFAULT_URL}')
    if args.credentials:
        secret = _secret('--credentials', args.credentials)
        user, _, password = secret.partition(':') if ':' in secret else ('', '', secret)
        target = dataclasses.replace(target, user=user, password=password)
    client = GatewayClient(url, _secret('--token', args.token) if args.token else '')
    limits = Limits(max_bytes=GatewayLimits().max_file_bytes)
    return WebArchiveQuery(target, client, limits, context)


def _secret(option: str, path: Path) -> str:
    """The one line of a file, which the list of processes does not show."""
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or 'not a text file'
        raise SettingError(f'{option} {path}: {reason}') from None
    if len(lines) != 1 or not lines[0].strip():
        raise SettingError(f'{option} {path}: expected one line')
    return lines[0].strip()
