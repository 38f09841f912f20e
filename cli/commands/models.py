"""`cxr-triage models`: lists the pushed versions, and releases, withdraws and deletes them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cli import auto_release
from cli import root_argument as roots
from cli import service_options as service
from pipeline.exit_codes import refuse

_ACTIONS = {
    'list': 'list the versions',
    'show': 'show one version',
    'promote': 'serve a version as stable (default: the canary, or the newest version)',
    'canary': 'serve a version as canary beside the stable one (default: the newest version)',
    'withdraw': 'end the canary; the stable version stays',
    'auto': 'look at the canary once: promote it after enough answers, or withdraw it on an alarm',
    'hold': 'stop automatic decisions (`models auto`) until `models resume`',
    'resume': 'allow automatic decisions again',
    'rollback': 'serve the version again that was stable before',
    'prune': 'delete old versions, but none that has a label or that rollback leads to',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions of `models`."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        service.add_arguments(action)
        if name in ('show', 'promote', 'canary'):
            action.add_argument(
                'version', type=int, nargs=None if name == 'show' else '?', help='its number'
            )
        if name == 'prune':
            action.add_argument(
                '--keep', type=int, default=5, metavar='N', help='newest versions to keep (5)'
            )
        if name == 'auto':
            auto_release.add_arguments(action)
        elif name not in ('list', 'show'):
            action.add_argument('--why', default='', help='for the record of releases')
        action.add_argument(
            '--config-file',
            type=Path,
            metavar='FILE',
            help='the models.config of Docker Compose or of a Kubernetes overlay, in place of the '
            'one in the push directory',
        )


def run(args: argparse.Namespace) -> int:
    """Runs an action; returns 0, or 1 if it is refused. For `auto`, see `auto_release`."""
    from components.pusher.journal import JournalError
    from components.pusher.target import TargetError
    from serving import running
    from serving.api.client import ModelServer
    from serving.releases import ReleaseError
    from serving.releases.release import Releases

    config = args.config_file
    try:
        address = service.address(args.model_server or '')
        target = service.target(args)
        if not address and config is None and (args.data or not args.target):
            address = running.model_server(service.data_folder(args))
    except (roots.RootError, service.ServiceError) as error:
        code = refuse('models', error)
        return auto_release.ERROR if args.action == 'auto' else code
    releases = Releases(target, args.model, ModelServer(address) if address else None, config)
    if args.action == 'auto':
        return auto_release.run(args, releases)
    try:
        if args.action in ('list', 'show'):
            _print_versions(releases, getattr(args, 'version', None))
        else:
            _change(args, releases)
    except (ReleaseError, TargetError, JournalError, OSError) as error:
        return refuse('models', error)
    return 0


def _change(args: argparse.Namespace, releases: Any) -> None:
    if args.action == 'prune':
        removed = releases.prune(args.keep, args.why)
        print(f'Deleted: {", ".join(map(str, removed)) or "nothing"}.')
        return
    if args.action in ('hold', 'resume'):
        getattr(releases, args.action)(args.why)
        is_held = args.action == 'hold'
        print(
            f'Automatic decisions are {"stopped" if is_held else "allowed"} in {releases.target}.'
        )
        return
    if args.action == 'withdraw':
        print(f'Version {releases.withdraw(args.why)} is no longer canary.')
    else:
        if args.action == 'rollback':
            version = releases.rollback(args.why)
        else:
            version = getattr(releases, args.action)(args.version, args.why)
        label = 'canary' if args.action == 'canary' else 'stable'
        print(f'Version {version} is {label} in {releases.config_path}.')
    auto_release.print_how_to_apply(releases)


def _print_versions(releases: Any, only: int | None) -> None:
    from rich.console import Console

    from components.pusher import journal
    from pipeline.tables import plain_table
    from serving import served_versions
    from serving.api.client import ModelServerError
    from serving.releases import ReleaseError

    states: dict[int, str] = {}
    if releases.server is not None:
        try:
            states = {s.version: s.state for s in releases.server.versions(releases.model)}
        except ModelServerError as error:
            print(f'The model server does not answer: {error}')
    labels = releases.labels()
    infos = [
        info
        for info in served_versions.read_all(str(releases.target))
        if only in (None, info.version)
    ]
    if not infos:
        raise ReleaseError(f'{releases.target}: no version{f" {only}" if only else " was pushed"}')
    table = plain_table(
        'version', 'labels', 'state', 'pushed', '>AUC', '>sensitivity', '>specificity'
    )
    for info in infos:
        names = ' '.join(sorted(name for name, number in labels.items() if number == info.version))
        figures = [
            _figure(figure, only is not None)
            for figure in (info.auc, info.sensitivity, info.specificity)
        ]
        state = states.get(info.version, '')
        table.add_row(
            str(info.version), names, state, info.pushed_at[:16].replace('T', ' '), *figures
        )
    console = Console()
    console.print(table)
    for info in infos:
        if info.problem:
            print(f'{info.version}: {info.problem}')
    if hold := journal.held(journal.read(releases.target)):
        print(f'Automatic decisions are stopped since {hold.at} by {hold.who}. {hold.why}')
    if only is not None:
        if infos[0].recalibration:
            print(infos[0].recalibration)
        for entry in journal.read(releases.target):
            if only in (entry.before, entry.after):
                print(f'{entry.at}  {entry.who}  {entry.action} {entry.label}  {entry.why}')


def _figure(figure: Any, with_interval: bool) -> str:
    if figure.value is None:
        return ''
    if figure.lower is None or not with_interval:
        return f'{figure.value:.3f}'
    return f'{figure.value:.3f} ({figure.lower:.3f}-{figure.upper:.3f})'
