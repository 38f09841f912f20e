"""What `compile` and `submit` share: their options, and the pipeline of an experiment."""

from __future__ import annotations

import argparse
import sys

import storage

_FINGERPRINT_HINT = (
    'If this machine cannot see data and weights, name their state with --fingerprint, and change '
    'the name when they change.'
)
# Where the container images have this project.
IMAGE_SETUP_FILE = '/opt/cxr-triage/setup.py'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that come on top of those of every experiment."""
    parser.add_argument(
        '--image', metavar='IMAGE', help='the container image of the steps (kubeflow.image)'
    )
    parser.add_argument(
        '--fingerprint',
        metavar='TEXT',
        help=(
            'a name for the state of data and weights, if this machine cannot see them (default: '
            'made from the files)'
        ),
    )


def check(config) -> None:
    """Checks that pods can reach all paths; does not import TFX.

    Raises:
      ConfigError: they cannot; the text has all problems.
    """
    from pipeline.config import ConfigError
    from pipeline.kubeflow import validation

    mounted = tuple(volume.mount for volume in config.kubeflow.volumes)
    inputs = (('data.root', config.data.root), ('model.weights', config.model.weights))
    problems = [
        validation.root_problem(config.root),
        validation.beam_problem(config.beam.engine, config.root),
        validation.push_problem(config.push_directory, mounted),
        *(validation.read_problem(key, path, mounted) for key, path in inputs if path),
    ]
    if any(problems):
        raise ConfigError('\n'.join(filter(None, problems)))


def check_inputs(config, fingerprint: str | None) -> None:
    """Checks data and weights, and prints notes to standard error; does not import TFX.

    Args:
      config: a configuration that passed `check`.
      fingerprint: of data and weights that this machine cannot see; then nothing is checked.

    Raises:
      ConfigError: data or weights cannot be used.
    """
    from pipeline import data_check, weights
    from pipeline.config import ConfigError
    from records.terminal import printable

    if fingerprint:
        return
    try:
        # Without a path, each pod fetches its own weights.
        if config.model.weights:
            weights.check(config.model)
        notes = data_check.check(config)
    except ConfigError as error:
        raise ConfigError(f'{error}\n{_FINGERPRINT_HINT}') from None
    for note in notes:
        print(f'Note: {printable(note)}', file=sys.stderr)


def graph(config, fingerprint: str | None, read_target: bool = True):
    """The pipeline, with the data, the weights and the served version of this moment.

    Args:
      config: a configuration that passed `check`.
      fingerprint: of data and weights, which are then not read; None to make it from the files.
      read_target: see `create_pipeline`.

    Raises:
      ConfigError: data, weights or push target cannot be used.
    """
    from components.pusher.target import TargetError
    from pipeline.config import ConfigError
    from pipeline.create_pipeline import create_pipeline
    from pipeline.execute import check_weights
    from pipeline.run_inputs import data_fingerprint
    from records.data_root import DataRootError

    try:
        if not fingerprint:
            check_weights(config)
        return create_pipeline(
            config,
            fingerprint or data_fingerprint(config),
            setup_file=IMAGE_SETUP_FILE,
            weights_digest=fingerprint or None,
            read_target=read_target,
        )
    except (DataRootError, ConfigError) as error:
        raise ConfigError(f'{error}\n{_FINGERPRINT_HINT}') from None
    except storage.RemoteError as error:
        raise ConfigError(
            f'a bucket cannot be read: {" ".join(str(error).split())}\nCheck its name, your '
            'permissions and the network. If this machine cannot see the bucket, name the state '
            'of data and weights with --fingerprint.'
        ) from None
    except (TargetError, OSError) as error:
        raise ConfigError(str(error)) from None
