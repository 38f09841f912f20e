"""All benchmarks, one after the other, and the table of goals.

    python -m benchmarks                        1,000, 4,000 and 16,000 films; about an hour on 2
    cores
    python -m benchmarks 1000 4000 16000 64000 112120

Each is also a command of its own (python -m benchmarks.NAME --help), and leaves its figures under
--scratch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import goals, peers, scale


def main(argv: Sequence[str] | None = None) -> None:
    """Runs each in a process of its own, so that none holds memory or threads beside another."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'counts', type=int, nargs='*', default=scale.COUNTS, help='numbers of films'
    )
    parser.add_argument(
        '--scratch', type=Path, default=scale.SCRATCH, help='for films, runs and figures'
    )
    args = parser.parse_args(argv)
    scratch = ['--scratch', str(args.scratch)]
    # Of all runs the peers' are the first, as `scale` measures its counts anew.
    _run('peers', *map(str, peers.COUNTS), *scratch)
    _run('scale', *map(str, args.counts), *scratch)
    largest = str(scale.run_of(max(args.counts), args.scratch))
    _run('training', largest)
    _run('evaluation', largest)
    _run('startup', *scratch)
    _run('tracing', *scratch)
    goals.main(scratch)


def _run(name: str, *arguments: str) -> None:
    print(f'\nbenchmarks.{name}', flush=True)
    subprocess.run([sys.executable, '-m', f'benchmarks.{name}', *arguments], check=True)


if __name__ == '__main__':
    main()
