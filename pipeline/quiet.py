"""Keeps the noise of TensorFlow, absl, Beam and TFX off the screen and in a file, where it helps
when something goes wrong.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

from records.terminal import printable

# Whose messages are for the person at the screen.
OWN = ('pipeline', 'components', 'trainer', 'records')


def before_tensorflow(verbose: bool) -> None:
    """Sets what has to be set before TensorFlow is imported."""
    if not verbose:
        os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
        warnings.simplefilter('ignore')
    # The metadata store and gRPC complain of a fork through these.
    os.environ.setdefault('GRPC_VERBOSITY', 'ERROR')


def before_tfx(verbose: bool) -> None:
    """Sets what has to be set before TFX is imported by a command that keeps no log."""
    before_tensorflow(verbose)
    # Before anything imports absl's logging.
    logging.disable(logging.NOTSET if verbose else logging.WARNING)


@contextlib.contextmanager
def logs_to(path: str, verbose: bool) -> Iterator[TextIO]:
    """Sends all logs, and what native code writes to standard error, into a file; yields the real
    standard error.

    Args:
      path: the log file; its folder is made.
      verbose: also show everything on the screen.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    screen_fd = os.dup(2)
    screen = os.fdopen(screen_fd, 'w', buffering=1, encoding='utf-8', errors='replace')
    root = logging.getLogger()
    before = root.handlers[:], root.level
    with open(path, 'a', encoding='utf-8', errors='backslashreplace') as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(_Printable('%(asctime)s %(levelname).1s %(name)s: %(message)s'))
        handler.addFilter(lambda record: not hasattr(record, 'total'))
        root.handlers, root.level = [handler], logging.INFO
        if verbose:
            on_screen = logging.StreamHandler(screen)
            on_screen.setFormatter(_Printable())
            root.addHandler(on_screen)
        else:
            sys.stderr.flush()
            os.dup2(file.fileno(), 2)
        for target in root.handlers:
            target.addFilter(_is_news)
        _quiet_absl()
        try:
            yield screen
        finally:
            sys.stderr.flush()
            os.dup2(screen_fd, 2)
            root.handlers, root.level = before
            screen.close()


class _Printable(logging.Formatter):
    """Escapes control characters: names of files and images come from outside."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep='\n\t')


def _is_news(record: logging.LogRecord) -> bool:
    """False for what every look-up of current TFX in the metadata store warns of: the store lost a
    query language, and TFX does without.
    """
    return 'non-ZetaSQL' not in str(record.msg)


def _quiet_absl() -> None:
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.INFO)
    absl_logging.set_stderrthreshold('fatal')
