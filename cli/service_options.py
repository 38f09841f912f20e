"""Options that the commands of the service share."""

from __future__ import annotations

import argparse
from pathlib import Path

from cli import root_argument as roots
from components.serving_check.parameters import MODEL_NAME
from pipeline.run_root import RunRoot
from serving import running


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --root, --data, --model and --model-server."""
    roots.add_argument(parser)
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DIR',
        help='folder for database, images and logs (default: ROOT/service)',
    )
    parser.add_argument(
        '--model',
        default=MODEL_NAME,
        metavar='NAME',
        help=f'name of the model on the model server (default: {MODEL_NAME})',
    )
    parser.add_argument(
        '--model-server',
        metavar='grpc://HOST:PORT',
        help='a TF Serving that serves the push directory (default: the embedded server)',
    )


def data_folder(args: argparse.Namespace, root: Path) -> Path:
    """The folder of the service."""
    return args.data or root / running.FOLDER


def target(root: Path) -> Path:
    """The push directory of a root."""
    return RunRoot(root).serving


def address(model_server: str) -> str:
    """HOST:PORT of --model-server."""
    return model_server.removeprefix('grpc://')
