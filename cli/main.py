"""The command line `cxr-triage`. Nothing heavy is imported before a command runs, so that `--help`
answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import metadata

import pipeline
from pipeline.exit_codes import FAILED, INTERRUPTED, refuse
from trainer import keras_settings

# Characters of an unexpected error that are shown.
_SHOWN = 300
# Command -> (its module with `add_arguments` and `run`, one line of help).
COMMANDS: dict[str, tuple[str, str]] = {
    'run': (
        'cli.commands.run',
        'run the whole pipeline here, from TFRecords to a served model',
    ),
    'compile': (
        'cli.commands.compile',
        'write the pipeline as a specification for Kubeflow or Vertex AI Pipelines',
    ),
    'submit': (
        'cli.commands.submit',
        'run a compiled specification on Kubeflow, with the data and settings of now',
    ),
    'status': ('cli.commands.status', 'how a run on Kubeflow stands'),
    'logs': ('cli.commands.logs', 'what the steps of a run on Kubeflow wrote'),
    'cancel': ('cli.commands.cancel', 'end a run on Kubeflow'),
    'report': (
        'cli.commands.report',
        'write the pages of a root: runs, evaluation, data, model card, lineage',
    ),
    'ui': ('cli.commands.ui', 'serve these pages on this machine, always up to date'),
    'tensorboard': ('cli.commands.tensorboard', 'TensorBoard over the trainings of a root'),
    'synth': ('cli.commands.synth', 'draw synthetic chest X-rays in the NIH TFRecord layout'),
    'convert': (
        'cli.commands.convert',
        'turn image folders or NIH PNGs into the NIH TFRecord layout',
    ),
    'check': ('cli.commands.check', 'audit a data set before anything is run'),
}


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = argparse.ArgumentParser(
        prog='cxr-triage',
        description='Chest X-ray triage: NIH TFRecords in, a calibrated, gated '
        'normal-vs-abnormal model out to TF Serving. '
        'Research use only, not for clinical use.',
    )
    parser.add_argument(
        '--version',
        action=_Version,
        nargs=0,
        help='print the versions of cxr-triage and what it runs on',
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, (module, text) in COMMANDS.items():
        importlib.import_module(module).add_arguments(
            commands.add_parser(name, help=text, description=text)
        )
    return parser


class _Version(argparse.Action):
    """Looks the versions up only when they are asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        installed = [f'Python {platform.python_version()}']
        for package, name in (('tfx', 'TFX'), ('tensorflow', 'TensorFlow')):
            try:
                installed.insert(0, f'{name} {metadata.version(package)}')
            except metadata.PackageNotFoundError:
                installed.insert(0, f'no {name}')
        print(f'cxr-triage {pipeline.__version__} ({", ".join(installed)})')
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # What read the output, such as `head`, has closed it. Python would try once more to write
        # at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(argv: Sequence[str] | None) -> int:
    keras_settings.apply()
    args = build_parser().parse_args(argv)
    if problem := _environment_problem():
        print(f'cxr-triage: {problem}', file=sys.stderr)
        return FAILED
    module = importlib.import_module(COMMANDS[args.command][0])
    try:
        return module.run(args)
    except KeyboardInterrupt:
        resumed = getattr(module, 'WHEN_INTERRUPTED', 'what was done is kept')
        print(f'cxr-triage {args.command}: interrupted; {resumed}', file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001
        return refuse(args.command, _unexpected(error))


def _unexpected(error: Exception) -> str:
    """One line on an error that no command foresees, whose traceback goes into a file."""
    with tempfile.NamedTemporaryFile(
        'w', prefix='cxr-triage-', suffix='.log', delete=False, encoding='utf-8', errors='replace'
    ) as file:
        file.write(''.join(traceback.format_exception(error)))
    said = ' '.join(str(error).split())[:_SHOWN]
    if isinstance(error, ImportError):
        cause = (
            'The environment is broken: remove .venv and run `make environment`, '
            'with PYTHONPATH unset.'
        )
    else:
        cause = 'This is a fault of cxr-triage; please report it.'
    return f'unexpected {type(error).__name__}: {said}. {cause} Its traceback is in {file.name}'


def _environment_problem() -> str | None:
    """What keeps the libraries from being imported, in words; each would end in a traceback of its
    own.
    """
    if os.path.expanduser('~') == '~':
        return (
            f'there is no home directory: HOME is not set, and user {os.getuid()} is not in the '
            f'user database. '
            'Set HOME to a directory that can be written to, e.g. HOME=/tmp.'
        )
    return None


if __name__ == '__main__':
    sys.exit(main())
