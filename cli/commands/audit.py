"""`cxr-triage audit`: verifies and exports the audit log of the service."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cli import root_argument as roots
from cli import service_options as service
from pipeline.exit_codes import FAILED, refuse

_ACTIONS = {
    'verify': 'check that no entry was changed, removed or inserted',
    'export': 'write all entries, oldest first',
}
_MAX_PROBLEMS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions of `audit`."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        service.add_data_arguments(action)
        service.add_database_argument(action)
        if name == 'verify':
            action.add_argument(
                '--digest',
                metavar='HEX',
                help='the last digest of an earlier `verify`, kept elsewhere: its entry must still '
                'be in the log. Without it, nobody notices that the newest entries were removed or '
                'that the whole log was written anew',
            )
        else:
            action.add_argument(
                '--format',
                choices=('jsonl', 'csv'),
                default='jsonl',
                help='JSON Lines or CSV (default: jsonl)',
            )
            action.add_argument(
                '--out', type=Path, metavar='FILE', help='file to write (default: the screen)'
            )


def run(args: argparse.Namespace) -> int:
    """Runs an action; returns 0, or 1 if the log is damaged or cannot be read."""
    from serving.database.connection import DatabaseError

    try:
        return _verify(args) if args.action == 'verify' else _export(args)
    except BrokenPipeError:  # of `head`; `main` ends quietly
        raise
    except (roots.RootError, service.ServiceError, DatabaseError, OSError) as error:
        return refuse('audit', error)


def _verify(args: argparse.Namespace) -> int:
    from serving import audit

    with service.open_database(args, readonly=True) as session:
        count, last, problems = audit.verify(session)
        earlier = (args.digest or audit.FIRST).lower()
        if earlier != audit.FIRST and not audit.contains(session, earlier):
            problems.append(f'no entry has the digest {args.digest}')
    for problem in problems[:_MAX_PROBLEMS]:
        print(f'cxr-triage audit: {problem}', file=sys.stderr)
    if len(problems) > _MAX_PROBLEMS:
        print(f'and {len(problems) - _MAX_PROBLEMS} more', file=sys.stderr)
    if problems:
        return FAILED
    print(f'{count} entries, an unbroken chain. Last digest: {last}')
    return 0


def _export(args: argparse.Namespace) -> int:
    from serving import audit

    with service.open_database(args, readonly=True) as session:
        lines = audit.to_csv(session) if args.format == 'csv' else audit.to_json_lines(session)
        if args.out is None:
            sys.stdout.writelines(lines)
            return 0
        with args.out.open('w', encoding='utf-8', newline='') as stream:
            stream.writelines(lines)
    return 0
