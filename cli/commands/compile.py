"""`cxr-triage compile`: writes the specification for Kubeflow or Vertex AI Pipelines."""

from __future__ import annotations

import argparse

import storage
from cli import cluster_options as cluster
from cli import experiment_options as options
from pipeline.exit_codes import refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `compile`."""
    options.add_arguments(parser)
    parser.add_argument(
        '--out', required=True, metavar='FILE.yaml', help='where to write the specification'
    )
    cluster.add_arguments(parser)
    parser.add_argument(
        '--target',
        choices=['kubeflow', 'vertex'],
        default='kubeflow',
        help='the service that runs it (default: kubeflow)',
    )


def run(args: argparse.Namespace) -> int:
    """Compiles the pipeline; returns 0, or 1 with everything that has to change."""
    from pipeline import quiet
    from pipeline.config import ConfigError

    try:
        config = options.configuration(args, kubeflow__image=args.image)
        cluster.check(config)
        cluster.check_inputs(config, args.fingerprint)
        quiet.before_tfx(args.verbose)
        read_target = not (args.fingerprint and storage.is_remote(config.push_directory))
        pipeline = cluster.graph(config, args.fingerprint, read_target)
    except ConfigError as error:
        return refuse('compile', error)
    from pipeline.kubeflow import spec

    try:
        spec.compile_spec(pipeline, config.kubeflow, args.out, args.target)
    except (spec.SpecError, OSError) as error:
        return refuse('compile', error)
    print(
        f'{args.out}: {len(pipeline.components)} steps for {args.target}, image '
        f'{config.kubeflow.image}'
    )
    if not read_target:
        print(
            f'{config.push_directory} was not read, because of --fingerprint. The specification '
            'assumes that nothing is served there, and its Pusher refuses if something is. '
            'cxr-triage submit fills in the served version.'
        )
    print(f'Give the pipeline root with the run: {config.root}')
    return 0
