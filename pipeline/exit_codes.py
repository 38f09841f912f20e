"""What `cxr-triage run` and `submit --wait` exit with, and how any command says why it ends."""

from __future__ import annotations

import sys

from records.terminal import printable

PUSHED = 0
FAILED = 1
NOT_BLESSED = 3
_LAYOUT = '\n\t'


def refuse(command: str, error: object) -> int:
    """Says why a command ends, and returns its exit code."""
    print(f'cxr-triage {command}: {printable(error, keep=_LAYOUT)}', file=sys.stderr)  # noqa: T201
    return FAILED
