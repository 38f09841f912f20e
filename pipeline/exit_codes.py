"""What `cxr-triage run` and `submit --wait` exit with, and how any command says why it ends."""

from __future__ import annotations

import sys

PUSHED = 0
FAILED = 1
NOT_BLESSED = 3
# What a shell reports of a program that Ctrl-C ended.
INTERRUPTED = 130


def refuse(command: str, error: object) -> int:
    """Says why a command ends, and returns its exit code."""
    print(f'cxr-triage {command}: {error}', file=sys.stderr)  # noqa: T201
    return FAILED
