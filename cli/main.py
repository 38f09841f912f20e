"""The command line `cxr-triage`.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
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

# The longest text of an unexpected error that is shown, in characters.
_MAX_ERROR_CHARACTERS = 300
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
        'run a compiled specification on Kubeflow, with the current data and settings',
    ),
    'status': ('cli.commands.status', 'show the steps of a run on Kubeflow'),
    'logs': ('cli.commands.logs', 'print the logs of the steps of a run on Kubeflow'),
    'cancel': ('cli.commands.cancel', 'cancel a run on Kubeflow'),
    'report': (
        'cli.commands.report',
        'write the pages of a root: runs, evaluation, data, model card, lineage',
    ),
    'ui': ('cli.commands.ui', 'serve these pages on this machine, always up to date'),
    'models': (
        'cli.commands.models',
        'list, release, roll back and delete the pushed versions',
    ),
    'recalibrate': (
        'cli.commands.recalibrate',
        'fit offset, temperature and operating point of a version on new images',
    ),
    'serve': ('cli.commands.serve', 'score uploaded images and show a work list of them'),
    'predict': (
        'cli.commands.predict',
        'score image files: a table, and one page with thumbnails and heat maps',
    ),
    'pull': (
        'cli.commands.pull',
        'bring studies of an archive to a gateway (C-MOVE or DICOMweb)',
    ),
    'resend': (
        'cli.commands.resend',
        'send reports to archives, FHIR servers and webhooks again',
    ),
    'monitor': (
        'cli.commands.monitor',
        'compare the traffic of a served version with a reference: drift, readings, alarms',
    ),
    'collect': (
        'cli.commands.collect',
        'make a new span of training data from what readers said',
    ),
    'tokens': ('cli.commands.tokens', 'create, list and revoke access tokens of the service'),
    'audit': ('cli.commands.audit', 'verify and export the audit log of the service'),
    'tensorboard': ('cli.commands.tensorboard', 'show the trainings of a root in TensorBoard'),
    'synth': ('cli.commands.synth', 'draw synthetic chest X-rays in the NIH TFRecord layout'),
    'convert': (
        'cli.commands.convert',
        'turn image folders or NIH PNGs into the NIH TFRecord layout',
    ),
    'check': ('cli.commands.check', 'check a data root before a run'),
}


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = argparse.ArgumentParser(
        prog='cxr-triage',
        description='Chest X-ray triage: NIH TFRecords in, a calibrated, gated '
        'normal-vs-abnormal model out to TF Serving. Research use only, not for clinical use.',
    )
    parser.add_argument(
        '--version',
        action=_Version,
        nargs=0,
        help='print the versions of cxr-triage, TensorFlow, TFX and Python',
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, (module, text) in COMMANDS.items():
        importlib.import_module(module).add_arguments(
            commands.add_parser(name, help=text, description=text)
        )
    return parser


class _Version(argparse.Action):
    """The option `--version`, which looks up the versions only when it is used."""

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
        # The reader of the output, such as `head`, has closed it. Python would flush once more at
        # exit, and fail again.
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
        advice = getattr(module, 'WHEN_INTERRUPTED', 'finished work is kept')
        print(f'cxr-triage {args.command}: interrupted; {advice}', file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001
        refuse(args.command, _unexpected(error))
        return getattr(module, 'UNEXPECTED', FAILED)


def _unexpected(error: Exception) -> str:
    """Writes the traceback of an unexpected error to a file, and returns one line on the error."""
    with tempfile.NamedTemporaryFile(
        'w', prefix='cxr-triage-', suffix='.log', delete=False, encoding='utf-8', errors='replace'
    ) as file:
        file.write(''.join(traceback.format_exception(error)))
    message = ' '.join(str(error).split())[:_MAX_ERROR_CHARACTERS]
    if isinstance(error, ImportError):
        advice = (
            'The environment is broken: remove .venv and run `make environment`, '
            'with PYTHONPATH unset.'
        )
    else:
        advice = 'This is a bug in cxr-triage; please report it.'
    return f'unexpected {type(error).__name__}: {message}. {advice} The traceback is in {file.name}'


def _environment_problem() -> str | None:
    """The reason why the libraries cannot be imported; without this check, a traceback."""
    if os.path.expanduser('~') == '~':
        return (
            f'there is no home directory: HOME is not set, and user {os.getuid()} is not in the '
            'user database. Set HOME to a directory that can be written to, e.g. HOME=/tmp.'
        )
    return None


if __name__ == '__main__':
    sys.exit(main())
