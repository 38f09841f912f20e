"""`cxr-triage report`: writes the pages of a root."""

from __future__ import annotations

import argparse
import sys

from cli import root_argument as roots
from pipeline.exit_codes import cannot_write, refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `report`."""
    roots.add_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Writes them; 0 all there, 1 something is missing, e.g. a field of a model card, or nothing
    could be written.
    """
    from pipeline import quiet

    try:
        root = roots.find(args.root)
    except roots.RootError as error:
        return refuse('report', error)
    quiet.before_tfx(verbose=False)
    from pages import site

    try:
        written = site.write(root)
    except OSError as error:
        return refuse('report', cannot_write(error))
    except RuntimeError as error:
        return refuse('report', error)
    for problem in written.problems:
        print(f'cxr-triage report: {problem}', file=sys.stderr)
    print(f'{written.runs} run{"" if written.runs == 1 else "s"}: {written.front}')
    return 1 if written.problems else 0
