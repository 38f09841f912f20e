"""The option `--root` of the commands that read a root."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.run_root import STORE_FILE

_RUNS = Path('runs')


class RootError(ValueError):
    """The root does not exist, or it is not clear which one is meant; the text says what to do."""


def add_argument(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup) -> None:
    """Adds the option `--root`."""
    parser.add_argument(
        '--root',
        metavar='DIR',
        help='the run root (default: the one under runs/, if there is only one)',
    )


def find(path: str | None) -> Path:
    """The absolute path of the root `path`; without one, of the only root under `runs/`.

    Raises:
      RootError: the root does not exist, or `runs/` has none or several.
    """
    if path is not None:
        root = Path(path).resolve()
        if not root.is_dir():
            raise RootError(
                f'{path}: no such directory. Give the folder that was the --root of '
                '`cxr-triage run`.'
            )
        return root
    roots = sorted(store.parent for store in _RUNS.glob(f'*/{STORE_FILE}'))
    if len(roots) == 1:
        return roots[0].resolve()
    if not roots:
        raise RootError(f'no runs under {_RUNS}/ here: give the root of a run with --root')
    raise RootError(f'more than one root: choose one with --root: {", ".join(map(str, roots))}')
