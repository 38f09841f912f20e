"""Runs all benchmarks of the service in turn, about half an hour on 2 cores.

python -m benchmarks.serving ROOT [--images DIR] [--backbone mobilenet_v2]

ROOT is the root of a finished run. The backbone serves for latency and throughput alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import scale
from benchmarks.serving import images, versions


def main(argv: Sequence[str] | None = None) -> None:
    """Runs each benchmark in a separate process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    versions.add_arguments(parser)
    images.add_argument(parser)
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    if args.root is None:
        parser.error('ROOT is missing')
    scratch = ['--scratch', str(args.scratch)]
    pictures = ['--images', *map(str, args.images)] if args.images else []
    model = ['--backbone', args.backbone] if args.backbone else []
    root = [str(args.root)]
    _run('equality', *root, *pictures, *scratch)
    _run('latency', *root, *model, *pictures, *scratch)
    _run('throughput', *root, *model, *pictures, *scratch)
    _run('fuzz', *root, *pictures, *scratch)
    for database in ([], ['--postgresql']):
        _run('kills', *root, *pictures, *scratch, *database)
        _run('work_list', *scratch, *database)
    _run('outages', *root, *pictures, *scratch)


def _run(name: str, *arguments: str) -> None:
    print(f'\nbenchmarks.serving.{name}', flush=True)
    subprocess.run([sys.executable, '-m', f'benchmarks.serving.{name}', *arguments], check=True)


if __name__ == '__main__':
    main()
