"""Runs a compiled specification on this machine, step by step.

python -m tests.support.kfp SPEC.yaml --root minio://mlpipeline/runs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.kubeflow import versions
from tests.support.kfp.driver import DriverError
from tests.support.kfp.metadata import MetadataError
from tests.support.kfp.objects import StoreError
from tests.support.kfp.pods import Containers, PodError, PodRunner, Processes
from tests.support.kfp.runs import Cluster, RunError, Step, load


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a specification and returns 0; prints why it cannot, and returns 1."""
    parser = argparse.ArgumentParser(
        prog='python -m tests.support.kfp',
        description='Runs a compiled specification as Kubeflow would.',
    )
    parser.add_argument('spec', type=Path, help='from `cxr-triage compile`')
    parser.add_argument(
        '--root', required=True, help='the pipeline root, e.g. minio://mlpipeline/runs'
    )
    parser.add_argument(
        '--folder',
        type=Path,
        default=Path('runs/kubeflow'),
        help='for store, metadata, cache, logs (default: %(default)s)',
    )
    parser.add_argument(
        '--parameter', action='append', default=[], metavar='NAME=TEXT', help='of the pipeline'
    )
    parser.add_argument(
        '--claim',
        action='append',
        default=[],
        metavar='NAME=FOLDER',
        help='the local folder of a claim',
    )
    parser.add_argument(
        '--kubeflow',
        choices=versions.SUPPORTED,
        default=versions.NEWEST,
        help='the version whose rules apply (default: %(default)s)',
    )
    parser.add_argument(
        '--processes',
        action='store_true',
        help='run steps as processes of this environment, not in containers',
    )
    args = parser.parse_args(argv)
    runner: PodRunner = Processes() if args.processes else Containers()
    try:
        claims = {name: Path(folder) for name, folder in _pairs('--claim', args.claim).items()}
        cluster = Cluster(args.folder, runner, claims, args.kubeflow)
        cluster.submit(load(args.spec), args.root, _pairs('--parameter', args.parameter), _print)
    except (DriverError, MetadataError, PodError, RunError, StoreError) as error:
        print(f'tests.support.kfp: {error}', file=sys.stderr)
        return 1
    print(f'artifacts: {cluster.folder / "store"}')
    return 0


def _print(step: Step) -> None:
    tries = f', {len(step.logs)} attempts' if len(step.logs) > 1 else ''
    print(f'{step.name:18s} {step.seconds:7.1f} s  {step.state}{tries}', flush=True)


def _pairs(option: str, values: Sequence[str]) -> dict[str, str]:
    pairs = dict(text.partition('=')[::2] for text in values)
    if wrong := [text for text in values if '=' not in text]:
        raise DriverError(f'{option} {wrong[0]}: expected NAME=VALUE')
    return pairs


if __name__ == '__main__':
    sys.exit(main())
