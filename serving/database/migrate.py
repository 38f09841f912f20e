"""Brings the tables of a database up to date: `python -m serving.database.migrate`.

A gateway does this too when it starts. A deployment runs it before the gateways, so that a
migration that fails leaves the old gateways at work, and so that only this command needs the right
to change tables.
"""

from __future__ import annotations

import os
import sys

from serving.database import connection

_DATABASE = 'CXR_DATABASE'


def main() -> int:
    """Migrates the database of CXR_DATABASE; returns 0, or 1 if that fails."""
    url = os.environ.get(_DATABASE)
    if not url:
        sys.stderr.write(f'{_DATABASE} is not set: expected postgresql://USER:PASSWORD@HOST/NAME\n')
        return 1
    try:
        sessions = connection.connect(url)
    except connection.DatabaseError as error:
        sys.stderr.write(f'{error}\n')
        return 1
    with connection.reading(sessions) as session:
        sys.stdout.write(f'The tables are at revision {connection.revision(session)}.\n')
    sessions.kw['bind'].dispose()
    return 0


if __name__ == '__main__':
    sys.exit(main())
