"""`cxr-triage tokens`: access tokens of the service."""

from __future__ import annotations

import argparse

from cli import root_argument as roots
from cli import service_options as service
from pipeline.exit_codes import refuse

_ACTIONS = {
    'create': 'create a token, and print its secret, which is shown only this once',
    'list': 'list the tokens, also the revoked ones',
    'revoke': 'make a token useless, at once and for ever',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions of `tokens`."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        service.add_data_arguments(action)
        service.add_database_argument(action)
        if name != 'list':
            action.add_argument('name', help='who or what uses it, e.g. reading-room-2')
        if name == 'create':
            action.add_argument(
                '--role',
                action='append',
                required=True,
                metavar='ROLE',
                help='what it may do: upload (studies), read (studies, and write readings), '
                'release (versions) or admin (everything); may be repeated',
            )
            action.add_argument(
                '--site',
                default='',
                metavar='SITE',
                help='the site that its uploads belong to (default: the one of the gateway)',
            )


def run(args: argparse.Namespace) -> int:
    """Runs an action; returns 0, or 1 if it is refused."""
    from serving import person, sites, tokens
    from serving.database.connection import DatabaseError

    try:
        if args.action == 'list':
            return _list(args)
        with service.open_database(args, create=args.action == 'create') as session:
            if args.action == 'create':
                roles = list(dict.fromkeys(args.role))
                secret = tokens.create(session, args.name, roles, person.name(), args.site)
            else:
                tokens.revoke(session, args.name, person.name())
    except (
        tokens.TokenError,
        sites.SiteError,
        roots.RootError,
        service.ServiceError,
        DatabaseError,
        OSError,
    ) as error:
        return refuse('tokens', error)
    # Only now is it in the database.
    print(secret if args.action == 'create' else f'Revoked: {args.name}')
    return 0


def _list(args: argparse.Namespace) -> int:
    from rich.console import Console

    from pipeline.tables import plain_table
    from serving import tokens

    table = plain_table('name', 'roles', 'site', 'created', 'revoked')
    with service.open_database(args, readonly=True) as session:
        for token in tokens.all_tokens(session):
            revoked = f'{token.revoked_at:%Y-%m-%d %H:%M}' if token.revoked_at else ''
            roles = ' '.join(token.roles)
            created = f'{token.created_at:%Y-%m-%d %H:%M}'
            table.add_row(token.name, roles, token.site, created, revoked)
    Console().print(table)
    return 0
