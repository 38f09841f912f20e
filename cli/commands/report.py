"""`cxr-triage report`: writes the pages of a root."""

from __future__ import annotations

import argparse
import sys

from cli import root_argument as roots
from pipeline.exit_codes import FAILED, cannot_write, refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `report`."""
    roots.add_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the pages; returns 0, or 1 if it cannot or if something is missing from a page."""
    from pipeline import quiet

    try:
        root = roots.find(args.root)
    except roots.RootError as error:
        return refuse('report', error)
    quiet.before_tfx(verbose=False)
    from pages import site

    try:
        report = site.write(root)
    except OSError as error:
        return refuse('report', cannot_write(error))
    except RuntimeError as error:
        return refuse('report', error)
    for problem in report.problems:
        print(f'cxr-triage report: {problem}', file=sys.stderr)
    print(f'{report.runs} run{"" if report.runs == 1 else "s"}: {report.front}')
    return FAILED if report.problems else 0
