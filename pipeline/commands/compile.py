"""`cxr-triage compile`: the pipeline as a specification for Kubeflow or Vertex AI Pipelines."""

from __future__ import annotations

import argparse

from pipeline.commands import cluster, options
from pipeline.exit_codes import refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `compile`."""
    options.add_arguments(parser)
    parser.add_argument('--out', required=True, metavar='FILE.yaml', help='the specification')
    cluster.add_arguments(parser)
    parser.add_argument('--target', choices=['kubeflow', 'vertex'], default='kubeflow', help='who runs it (default: kubeflow)')


def run(args: argparse.Namespace) -> int:
    """Compiles; 0 written, 1 refused, with all that has to be changed."""
    from pipeline import quiet
    from pipeline.config import ConfigError

    try:
        config = options.configuration(args, kubeflow__image=args.image)
        cluster.check(config)
        cluster.check_data(config, args.fingerprint)
        quiet.before_tfx(args.verbose)
        pipeline = cluster.graph(config, args.fingerprint)
    except ConfigError as error:
        return refuse('compile', error)
    from kubeflow import spec

    try:
        spec.compile_spec(pipeline, config.kubeflow, args.out, args.target)
    except (spec.SpecError, OSError) as error:
        return refuse('compile', error)
    print(f'{args.out}: {len(pipeline.components)} steps for {args.target}, image {config.kubeflow.image}')  # noqa: T201
    print(f'Give the pipeline root with the run: {config.root}')  # noqa: T201
    return 0
