"""Options of `cxr-triage serve` for the exchange with an archive."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from serving import sites
from serving.pacs.settings import (
    DEFAULT_AE_TITLE,
    DEFAULT_REPORT_AFTER_S,
    PacsSettings,
    Peer,
    SettingError,
    Target,
    Tls,
)

__all__ = ['SettingError', 'add_arguments', 'add_tls_argument', 'settings']
_TARGETS = 'CXR_REPORT_TO'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = parser.add_argument_group('DICOM', 'images from an archive, and reports to it')
    group.add_argument(
        '--dicom-port',
        type=int,
        metavar='N',
        help='port that takes images by C-STORE (default: none; 0: any free one)',
    )
    group.add_argument(
        '--dicom-peer',
        action='append',
        default=[],
        metavar='TITLE[@HOST[:PORT]]',
        help='who may send images; repeat it for each (default: everybody on this machine alone, '
        'nobody elsewhere)',
    )
    group.add_argument(
        '--dicom-site',
        action='append',
        default=[],
        metavar='TITLE=SITE',
        help='the site of what a sender sends; repeat it for each (default: that of --site)',
    )
    group.add_argument(
        '--ae-title',
        default=DEFAULT_AE_TITLE,
        metavar='TITLE',
        help=f'AE title of this gateway (default: {DEFAULT_AE_TITLE})',
    )
    group.add_argument(
        '--report-to',
        action='append',
        default=[],
        metavar='URL',
        help='who gets a report about each DICOM study: an archive (dicom://TITLE@HOST:PORT, '
        'dicoms://TITLE@HOST:PORT, https://USER:PASSWORD@HOST/dicom-web), a FHIR server '
        '(fhir+https://USER:PASSWORD@HOST/PATH) or a webhook, which also hears of uploads '
        '(webhook+https://:whsec_KEY@HOST/PATH); repeat it for each (default: those of '
        f'{_TARGETS}, separated by spaces, which keeps passwords out of the list of processes)',
    )
    group.add_argument(
        '--report-after',
        type=float,
        default=DEFAULT_REPORT_AFTER_S,
        metavar='S',
        help='seconds that a study waits for more images before its report is sent '
        f'(default: {DEFAULT_REPORT_AFTER_S:g})',
    )
    group.add_argument(
        '--report-days',
        type=int,
        default=0,
        metavar='DAYS',
        help='with --retention-days: how much longer image files stay for a report that its target '
        'does not accept, which is given up then (default: 0, which tries on and keeps the files)',
    )
    group.add_argument(
        '--dicom-commitment',
        action='store_true',
        help='answer requests for storage commitment; the gateway is not an archive, so no source '
        'may delete its images because of it',
    )
    add_tls_argument(
        group,
        'encrypt DICOM with these PEM files; senders need a certificate of one of the authorities',
    )


def add_tls_argument(parser: argparse._ActionsContainer, text: str) -> None:
    """Adds --dicom-tls with its help."""
    parser.add_argument(
        '--dicom-tls',
        nargs=3,
        type=Path,
        metavar=('CERTIFICATE', 'KEY', 'AUTHORITIES'),
        help=text,
    )


def settings(args: argparse.Namespace, is_local: bool) -> PacsSettings:
    """The settings of the options.

    Args:
      args: of the command.
      is_local: whether the gateway listens on this machine alone.

    Raises:
      SettingError: an option has another form, or others are missing.
    """
    if args.dicom_port is not None and not (is_local or args.dicom_peer):
        raise SettingError(
            f'--dicom-port {args.dicom_port}: say with --dicom-peer who may send images, as '
            f'{args.host} is not this machine alone'
        )
    if args.report_after < 0:
        raise SettingError(f'--report-after {args.report_after:g}: expected 0 or more')
    if args.report_days < 0:
        raise SettingError(f'--report-days {args.report_days}: expected 0 or more')
    if args.report_days and not args.retention_days:
        raise SettingError(
            f'--report-days {args.report_days}: only with --retention-days, as image files are '
            'kept for ever without it'
        )
    tls = Tls(*args.dicom_tls) if args.dicom_tls else None
    if tls:
        tls.for_server()
    urls = args.report_to or os.environ.get(_TARGETS, '').split()
    targets = tuple(Target.parse(url) for url in urls)
    if not tls and (encrypted := next((t for t in targets if t.is_tls), None)):
        raise SettingError(f'--report-to {encrypted.name}: needs --dicom-tls')
    return PacsSettings(
        host=args.host,
        port=args.dicom_port,
        ae_title=Peer.parse(args.ae_title).ae_title,
        peers=tuple(Peer.parse(text) for text in args.dicom_peer),
        targets=targets,
        report_after_s=args.report_after,
        report_days=args.report_days,
        commits=args.dicom_commitment,
        tls=tls,
        sites=_sites(args),
    )


def _sites(args: argparse.Namespace) -> dict[str, str]:
    """Title -> site, of --dicom-site."""
    peers = {Peer.parse(text).ae_title for text in args.dicom_peer}
    result: dict[str, str] = {}
    for text in args.dicom_site:
        title, equals, site = text.partition('=')
        try:
            is_pair = bool(equals and sites.check(site)) and Peer.parse(title) == Peer(title)
        except (SettingError, sites.SiteError) as error:
            raise SettingError(f'--dicom-site {text}: {error}') from None
        problem = ''
        if not is_pair:
            problem = 'expected TITLE=SITE'
        elif args.dicom_port is None:
            problem = 'only with --dicom-port'
        elif title in result:
            problem = f'{title} has a site already'
        elif peers and title not in peers:
            problem = f'{title} is not one of --dicom-peer'
        if problem:
            raise SettingError(f'--dicom-site {text}: {problem}')
        result[title] = site
    return result
