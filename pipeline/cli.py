"""The command line `cxr-triage`. Nothing heavy is imported before a command runs, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

# Command -> (its module with `add_arguments` and `run`, one line of help).
COMMANDS: dict[str, tuple[str, str]] = {
    'run': ('pipeline.commands.run', 'run the whole pipeline here, from TFRecords to a served model'),
    'compile': ('pipeline.commands.compile', 'write the pipeline as a specification for Kubeflow or Vertex AI Pipelines'),
    'submit': ('pipeline.commands.submit', 'run a compiled specification on Kubeflow, with the data and settings of now'),
    'status': ('pipeline.commands.status', 'how a run on Kubeflow stands'),
    'logs': ('pipeline.commands.logs', 'what the steps of a run on Kubeflow wrote'),
    'cancel': ('pipeline.commands.cancel', 'end a run on Kubeflow'),
    'report': ('pages.commands.report', 'write the pages of a root: runs, evaluation, data, model card, lineage'),
    'ui': ('pages.commands.ui', 'serve these pages on this machine, always up to date'),
    'tensorboard': ('pages.commands.tensorboard', 'TensorBoard over the trainings of a root'),
    'synth': ('records.synth.command', 'draw synthetic chest X-rays in the NIH TFRecord layout'),
    'convert': ('records.convert.command', 'turn image folders or NIH PNGs into the NIH TFRecord layout'),
    'check': ('records.check.command', 'audit a data set before anything is run'),
}


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = argparse.ArgumentParser(
        prog='cxr-triage',
        description='Chest X-ray triage: NIH TFRecords in, a calibrated, gated normal-vs-abnormal model out to TF Serving. '
        'Research use only, not for clinical use.',
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, (module, text) in COMMANDS.items():
        importlib.import_module(module).add_arguments(commands.add_parser(name, help=text, description=text))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    args = build_parser().parse_args(argv)
    try:
        return importlib.import_module(COMMANDS[args.command][0]).run(args)
    except KeyboardInterrupt:
        print('cxr-triage: interrupted; what was done is kept', file=sys.stderr)  # noqa: T201
        return 130


if __name__ == '__main__':
    sys.exit(main())
