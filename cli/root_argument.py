"""Which root a command is about."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.run_root import STORE_FILE

_RUNS = Path('runs')


class RootError(ValueError):
    """There is no such root, or more than one; the text says what to give."""


def add_argument(parser: argparse.ArgumentParser) -> None:
    """The option `--root`."""
    parser.add_argument(
        '--root',
        metavar='DIR',
        help='the root of runs (default: the one under runs/, where there is one only)',
    )


def find(given: str | None) -> Path:
    """The root that was given, or the only one under `runs/`; absolute.

    Raises:
      RootError: see there.
    """
    if given is not None:
        root = Path(given).resolve()
        if not root.is_dir():
            raise RootError(
                f'{given}: no such directory. Give the root of a run: what `cxr-triage run` had '
                'as --root.'
            )
        return root
    found = sorted(path.parent for path in _RUNS.glob(f'*/{STORE_FILE}'))
    if len(found) == 1:
        return found[0].resolve()
    if not found:
        raise RootError(f'no runs under {_RUNS}/ here: give the root of a run with --root')
    raise RootError(
        f'more than one root: give one of them with --root: {", ".join(map(str, found))}'
    )
