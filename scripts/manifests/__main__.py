"""Checks the Kubernetes files: kubeflow/manifests/base and every overlay, or the folders given. `python -m
scripts.manifests`, or `make manifests`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.environment.choose import BootstrapError
from scripts.environment.install import Project
from scripts.environment.tool_environment import binaries
from scripts.manifests import references
from scripts.manifests.checks import problems
from scripts.manifests.objects import Objects, Problem
from scripts.manifests.placeholders import placeholders
from scripts.manifests.render import KUBERNETES, RenderError, read_brought, render, schema_problems

_ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints every problem and a line for each folder; 0 where there is no problem, 1 otherwise."""
    parser = argparse.ArgumentParser(prog='python -m scripts.manifests', description=__doc__)
    parser.add_argument(
        'folders',
        nargs='*',
        type=Path,
        metavar='FOLDER',
        help='with a kustomization.yaml (default: base and all overlays)',
    )
    parser.add_argument(
        '--filled-in',
        action='store_true',
        help='refuse placeholders too: before a folder is applied',
    )
    args = parser.parse_args(argv)
    try:
        tools = binaries(Project(_ROOT), 'manifests')
        brought = read_brought(_ROOT / references.BROUGHT_FILE)
        folders = args.folders or _shipped()
        rendered = {folder: render(folder, tools, brought) for folder in folders}
        found = [
            str(problem)
            for objects in rendered.values()
            for problem in _all(objects, tools, args.filled_in)
        ]
    except (BootstrapError, RenderError) as error:
        sys.stdout.write(f'{error}\n')
        return 1
    if not args.folders:
        found += references.unused_brought(brought, list(rendered.values()))
    for line in dict.fromkeys(found):
        sys.stdout.write(f'{line}\n')
    for folder, objects in rendered.items():
        sys.stdout.write(f'{folder}: {_summary(objects, args.filled_in)}\n')
    return 1 if found else 0


def _shipped() -> list[Path]:
    """The folders that somebody may apply."""
    manifests = _ROOT / 'kubeflow/manifests'
    overlays = sorted(path.parent for path in manifests.glob('overlays/*/kustomization.yaml'))
    folders = [manifests / 'base', *overlays]
    return [Path(os.path.relpath(folder)) for folder in folders]


def _all(objects: Objects, tools: Path, filled_in: bool) -> list[Problem]:
    """Schemas first: what breaks one may be too odd for the other checks."""
    return list(schema_problems(objects, tools)) or [
        *problems(objects),
        *(placeholders(objects) if filled_in else ()),
    ]


def _summary(objects: Objects, filled_in: bool) -> str:
    left = 0 if filled_in else len(list(placeholders(objects)))
    note = (
        f'; still to fill in before it is applied: {left} (--filled-in names them)' if left else ''
    )
    return (
        f'{len(objects.manifests)} objects, held against Kubernetes '
        f'{" and ".join(KUBERNETES)}{note}'
    )


if __name__ == '__main__':
    sys.exit(main())
