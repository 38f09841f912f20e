"""What `run`, `compile` and `submit` share: the options of an experiment, and its configuration."""

from __future__ import annotations

import argparse
import os
from typing import Any

import storage

# Characters of file patterns, which the path of artifacts must not contain.
_PATTERN = frozenset('*?[]\\')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of an experiment."""
    parser.add_argument(
        '--config',
        required=True,
        metavar='FILE',
        help='the experiment, e.g. pipeline/configs/nih_triage.yaml',
    )
    parser.add_argument(
        '--data-root', metavar='DIR', help='the folder with the *.tfrec files (data.root)'
    )
    parser.add_argument(
        '--weights',
        metavar='PATH',
        help='ImageNet weights of the backbone without its top (model.weights)',
    )
    parser.add_argument(
        '--root',
        metavar='DIR',
        help='the run root: artifacts, metadata, served model (default: runs/<pipeline>)',
    )
    parser.add_argument(
        '--push-dir',
        metavar='DIR',
        help='the directory that TF Serving watches (default: serving/ under the root)',
    )
    parser.add_argument(
        '--beam',
        choices=['direct', 'flink', 'dataflow'],
        help='where the Beam steps run (beam.engine; default: direct)',
    )
    parser.add_argument(
        '--set',
        dest='settings',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='set a key of the configuration, e.g. train.epochs=3; repeatable',
    )
    parser.add_argument(
        '-v',
        '--verbose',
        action='store_true',
        help='also show the logs of TensorFlow, Beam and TFX',
    )


def configuration(args: argparse.Namespace, **overrides: Any):
    """The configuration of the experiment, with the values of the options.

    Local paths become absolute, because artifacts and cache keys contain them.

    Args:
      args: the options of `add_arguments`.
      overrides: see `pipeline.config.load`.

    Raises:
      ConfigError: the configuration is not valid, or names no data.
    """
    from pipeline import config as config_lib

    config = config_lib.load(
        args.config,
        args.settings,
        data__root=args.data_root,
        model__weights=args.weights,
        root=args.root,
        push__directory=args.push_dir,
        beam__engine=args.beam,
        **overrides,
    )
    if config.data.root is None:
        raise config_lib.ConfigError(
            'no data: give the folder with the *.tfrec files with --data-root, or as data.root in '
            'the configuration'
        )
    _check_not_empty(config)
    config = config.model_copy(
        update={
            'root': _absolute(config.root or os.path.join('runs', config.pipeline)),
            'artifacts': _absolute(config.artifacts),
            'data': config.data.model_copy(update={'root': _absolute(config.data.root)}),
            'model': config.model.model_copy(update={'weights': _absolute(config.model.weights)}),
            'push': config.push.model_copy(update={'directory': _absolute(config.push.directory)}),
        }
    )
    _check_artifact_paths(config)
    return config


def _check_not_empty(config) -> None:
    """Checks that no path is empty, as after an unset shell variable.

    An empty path would mean the working directory.

    Raises:
      ConfigError: a path is empty.
    """
    from pipeline.config import ConfigError

    paths = {
        '--data-root (data.root)': config.data.root,
        '--weights (model.weights)': config.model.weights,
        '--root (root)': config.root,
        'artifacts': config.artifacts,
        '--push-dir (push.directory)': config.push.directory,
    }
    for option, path in paths.items():
        if path is not None and not path.strip():
            raise ConfigError(
                f'{option} is empty: give a path, or leave it out. Is a shell variable not set?'
            )


def _check_artifact_paths(config) -> None:
    """Checks that TFX and TensorFlow do not take a folder of artifacts for a file pattern.

    They would then not find its files, or find those of other folders.

    Raises:
      ConfigError: a path contains a character of patterns.
    """
    from pipeline.config import ConfigError

    for option, path in (('--root', config.root), ('artifacts', config.artifacts)):
        if path and (special := sorted(_PATTERN.intersection(path))):
            raise ConfigError(
                f'{path}: TFX takes {" ".join(special)} in the path of its artifacts for a '
                f'pattern. Give a folder without any of {" ".join(sorted(_PATTERN))} as {option}.'
            )


def _absolute(path: str | None) -> str | None:
    """The absolute form of a local path or file:// URI; other URIs stay as they are."""
    if path is None:
        return None
    # As a URI, a local folder would count as an object store.
    path = path.removeprefix('file://')
    # A shell does not expand the tilde of `--root=~/runs`, and nothing expands it in a
    # configuration.
    return path if storage.is_remote(path) else os.path.abspath(os.path.expanduser(path))
