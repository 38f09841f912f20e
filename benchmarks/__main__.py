"""Runs all benchmarks in turn, and prints the table of goals.

    python -m benchmarks                        1,000, 4,000 and 16,000 images; about an hour on 2
    cores
    python -m benchmarks 1000 4000 16000 64000 112120

Each benchmark is also a separate command (python -m benchmarks.NAME --help), and writes its figures
under --scratch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import goals, peers, scale


def main(argv: Sequence[str] | None = None) -> None:
    """Runs each benchmark in a separate process, so that they do not share memory or threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'counts', type=int, nargs='*', default=scale.COUNTS, help='numbers of images'
    )
    parser.add_argument(
        '--scratch', type=Path, default=scale.SCRATCH, help='for images, runs and figures'
    )
    args = parser.parse_args(argv)
    scratch = ['--scratch', str(args.scratch)]
    # `peers` runs first, as `scale` repeats its runs of the same counts.
    _run('peers', *map(str, peers.COUNTS), *scratch)
    _run('scale', *map(str, args.counts), *scratch)
    largest = str(scale.run_path(max(args.counts), args.scratch))
    _run('training', largest)
    _run('evaluation', largest)
    _run('startup', *scratch)
    _run('tracing', *scratch)
    _run('serving', largest, '--backbone', 'mobilenet_v2', *scratch)
    goals.main(scratch)


def _run(name: str, *arguments: str) -> None:
    print(f'\nbenchmarks.{name}', flush=True)
    subprocess.run([sys.executable, '-m', f'benchmarks.{name}', *arguments], check=True)


if __name__ == '__main__':
    main()
