"""The exit codes of `cxr-triage run` and `submit --wait`, and how commands report errors."""

from __future__ import annotations

import errno
import sys

from records.terminal import printable

PUSHED = 0
FAILED = 1
NOT_BLESSED = 3
NOT_NEEDED = 4  # `run --if-needed`: nothing has changed since the last run
# The exit code that shells use for a program that Ctrl-C ended.
INTERRUPTED = 130
_LAYOUT = '\n\t'


def refuse(command: str, error: object) -> int:
    """Prints why a command ends, and returns its exit code."""
    print(f'cxr-triage {command}: {printable(error, keep=_LAYOUT)}', file=sys.stderr)  # noqa: T201
    return FAILED


def cannot_write(error: OSError) -> str:
    """The message for a root that cannot be written to: the system's error and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f'{error}. The disk is full: make room, then give the same command again.'
    return f'{error}. Give a directory that can be written to with --root.'
