"""Starts a Flink cluster that runs until Ctrl-C, and prints how to run the pipeline on it.

python -m tests.support.flink [--task-managers 2] [--slots 2]
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path

from tests.support.flink.cluster import ADDRESS, REST_PORT, cluster
from tests.support.flink.jars import FlinkError, fetch

_TOOLS = Path(__file__).resolve().parents[3] / '.tools'


def main() -> int:
    """Runs a cluster until Ctrl-C and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--task-managers', type=int, default=2, help='hosts (default: 2)')
    parser.add_argument('--slots', type=int, default=2, help='of each (default: 2)')
    args = parser.parse_args()
    logs = _TOOLS / 'flink-logs'
    # SIGTERM cleans up as Ctrl-C does, since namespaces and processes outlive a killed process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with cluster(fetch(_TOOLS), logs, args.task_managers, args.slots) as running:
            print(f'Flink: http://{ADDRESS}:{REST_PORT}, logs under {logs}')
            print(f'cxr-triage run … {shlex.join(running.settings())}')
            print('Ctrl-C ends it.', flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass
    except FlinkError as error:
        print(f'tests.support.flink: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
