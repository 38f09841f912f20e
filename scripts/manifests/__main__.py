"""Checks kubeflow/manifests/base and every overlay, or the folders on the command line.

Run it with `make manifests` or `python -m scripts.manifests`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.manifests import references
from scripts.manifests.checks import problems
from scripts.manifests.objects import Objects, Problem
from scripts.manifests.placeholders import placeholders
from scripts.manifests.render import KUBERNETES, RenderError, read_external, render, schema_problems

_ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints every problem and one line per folder; returns 0 without problems, 1 otherwise."""
    parser = argparse.ArgumentParser(prog='python -m scripts.manifests', description=__doc__)
    parser.add_argument(
        'folders',
        nargs='*',
        type=Path,
        metavar='FOLDER',
        help='a folder with a kustomization.yaml (default: base and all overlays)',
    )
    parser.add_argument(
        '--filled-in',
        action='store_true',
        help='also report placeholders; use it before you apply a folder',
    )
    args = parser.parse_args(argv)
    try:
        tools = Path(sys.executable).parent
        external = read_external(_ROOT / references.EXTERNAL_FILE)
        folders = args.folders or _shipped()
        rendered = {folder: render(folder, tools, external) for folder in folders}
        messages = [
            str(problem)
            for objects in rendered.values()
            for problem in _all(objects, tools, args.filled_in)
        ]
    except RenderError as error:
        sys.stdout.write(f'{error}\n')
        return 1
    if not args.folders:
        messages += references.unused_external(external, list(rendered.values()))
    for line in dict.fromkeys(messages):
        sys.stdout.write(f'{line}\n')
    for folder, objects in rendered.items():
        sys.stdout.write(f'{folder}: {_summary(objects, args.filled_in)}\n')
    return 1 if messages else 0


def _shipped() -> list[Path]:
    """The base and the overlays: the folders that users apply."""
    manifests = _ROOT / 'kubeflow/manifests'
    overlays = sorted(path.parent for path in manifests.glob('overlays/*/kustomization.yaml'))
    folders = [manifests / 'base', *overlays]
    return [Path(os.path.relpath(folder)) for folder in folders]


def _all(objects: Objects, tools: Path, filled_in: bool) -> list[Problem]:
    """Schemas come first: the other checks rely on valid objects."""
    return list(schema_problems(objects, tools)) or [
        *problems(objects),
        *(placeholders(objects) if filled_in else ()),
    ]


def _summary(objects: Objects, filled_in: bool) -> str:
    count = 0 if filled_in else len(list(placeholders(objects)))
    note = (
        f'; placeholders to fill in before you apply it: {count} (--filled-in lists them)'
        if count
        else ''
    )
    return (
        f'{len(objects.manifests)} objects checked against Kubernetes '
        f'{" and ".join(KUBERNETES)}{note}'
    )


if __name__ == '__main__':
    sys.exit(main())
