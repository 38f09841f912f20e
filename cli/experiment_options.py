"""What the commands that take an experiment have in common: its options, and the configuration that
they make.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import storage

# Characters of file patterns, of which a path of artifacts has to be free.
_PATTERN = frozenset('*?[]\\')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
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
        help='where artifacts, metadata and the served model go (default: runs/<pipeline>)',
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
        help='any key, e.g. train.epochs=3',
    )
    parser.add_argument(
        '-v', '--verbose', action='store_true', help='show the logs of TensorFlow, Beam and TFX too'
    )


def configuration(args: argparse.Namespace, **overrides: Any):
    """The experiment with the options laid over it; paths of this machine become absolute: they
    stand in artifacts and in the cache's keys.

    Args:
      args: as `add_arguments` has them.
      overrides: see `pipeline.config.load`.

    Raises:
      ConfigError: it is none, or has no data.
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
    """Refuses empty paths, which an unset variable of a shell leaves: they would stand for the
    working directory.

    Raises:
      ConfigError: see above.
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
                f'{option} is empty: give a path, or leave it out. Is a variable of the shell not '
                'set?'
            )


def _check_artifact_paths(config) -> None:
    """Refuses folders for artifacts that TFX and TensorFlow would take for a pattern: their files
    would not be found, or those of others.

    Raises:
      ConfigError: see above.
    """
    from pipeline.config import ConfigError

    for option, path in (('--root', config.root), ('artifacts', config.artifacts)):
        if path and (special := sorted(_PATTERN.intersection(path))):
            raise ConfigError(
                f'{path}: TFX takes {" ".join(special)} in the path of its artifacts for a '
                'pattern. '
                f'Give a folder without any of {" ".join(sorted(_PATTERN))} as {option}.'
            )


def _absolute(path: str | None) -> str | None:
    """An absolute path, also for file:// URIs: as a URI, a local folder would be taken for an
    object store.
    """
    if path is None:
        return None
    path = path.removeprefix('file://')
    # A shell leaves the tilde of `--root=~/runs`, and of a configuration, as it is: it would become
    # a folder of that name.
    return path if storage.is_remote(path) else os.path.abspath(os.path.expanduser(path))
