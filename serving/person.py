"""Who runs a command, for the record of releases and the audit log."""

from __future__ import annotations

import getpass
import os

# Where several people share a user, or a program acts for a person.
_VARIABLE = 'CXR_USER'


def name() -> str:
    """The name of the user, of CXR_USER if it is set; the number of a user without a name."""
    try:
        return os.environ.get(_VARIABLE) or getpass.getuser()
    except (KeyError, OSError):  # in a container
        return f'user {os.getuid()}'
