"""`cxr-triage compile`: the pipeline as a specification for Kubeflow or Vertex AI Pipelines."""

from __future__ import annotations

import argparse
import logging
import sys

from pipeline.commands import options
from pipeline.exit_codes import FAILED

# Where the image has this project.
IMAGE_SETUP_FILE = '/opt/cxr-triage/setup.py'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `compile`."""
    options.add_arguments(parser)
    parser.add_argument('--out', required=True, metavar='FILE.yaml', help='the specification')
    parser.add_argument('--image', metavar='IMAGE', help='the container image of the steps (kubeflow.image)')
    parser.add_argument(
        '--fingerprint', metavar='TEXT', help='of the data, where this machine cannot see them (default: taken from the files)'
    )
    parser.add_argument('--target', choices=['kubeflow', 'vertex'], default='kubeflow', help='who runs it (default: kubeflow)')


def run(args: argparse.Namespace) -> int:
    """Compiles; 0 written, 1 refused, with all that has to be changed."""
    from pipeline import quiet
    from pipeline.config import ConfigError

    try:
        config = options.configuration(args, kubeflow__image=args.image)
        _check(config)
    except ConfigError as error:
        return _refuse(error)
    quiet.before_tensorflow(args.verbose)
    # Before anything imports absl's logging.
    logging.disable(logging.NOTSET if args.verbose else logging.WARNING)
    return _compile(config, args)


def _check(config) -> None:
    """Refuses what no pod could reach, before TFX is imported.

    Raises:
      ConfigError: all that is wrong.
    """
    from kubeflow import refusals
    from pipeline.config import ConfigError

    mounted = tuple(volume.mount for volume in config.kubeflow.volumes)
    found = [refusals.root_problem(config.root), refusals.beam_problem(config.beam.engine, config.root)]
    found.append(refusals.push_problem(config.push_directory, mounted))
    read = (('data.root', config.data.root), ('model.weights', config.model.weights))
    found += [refusals.read_problem(key, path, mounted) for key, path in read if path]
    if problems := [problem for problem in found if problem]:
        raise ConfigError('\n'.join(problems))


def _compile(config, args: argparse.Namespace) -> int:
    from components.pusher.target import TargetError
    from kubeflow import spec
    from pipeline.create_pipeline import create_pipeline
    from pipeline.execute import data_fingerprint
    from records.data_root import DataRootError

    try:
        fingerprint = args.fingerprint or data_fingerprint(config)
        pipeline = create_pipeline(config, fingerprint, setup_file=IMAGE_SETUP_FILE)
        spec.compile_spec(pipeline, config.kubeflow, args.out, args.target)
    except DataRootError as error:
        return _refuse(f'{error}\nIf this machine cannot see the data, name their state with --fingerprint: another name is another set.')
    except (spec.SpecError, TargetError, OSError) as error:
        return _refuse(error)
    print(f'{args.out}: {len(pipeline.components)} steps for {args.target}, image {config.kubeflow.image}')  # noqa: T201
    print(f'Give the pipeline root with the run: {config.root}')  # noqa: T201
    return 0


def _refuse(error: object) -> int:
    print(f'cxr-triage compile: {error}', file=sys.stderr)  # noqa: T201
    return FAILED
