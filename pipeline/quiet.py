"""Sends the messages of TensorFlow, absl, Beam and TFX to a log file instead of the screen."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

from records.terminal import printable

# Packages whose messages appear on the screen.
OWN = ('pipeline', 'components', 'trainer', 'records')


def before_tensorflow(verbose: bool) -> None:
    """Makes settings that work only before TensorFlow is imported."""
    if not verbose:
        os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
        warnings.simplefilter('ignore')
    # The metadata store and gRPC would log warnings about forks.
    os.environ.setdefault('GRPC_VERBOSITY', 'ERROR')


def before_tfx(verbose: bool) -> None:
    """Makes settings that work only before TFX is imported, for commands without a log file."""
    before_tensorflow(verbose)
    # Has an effect only before absl's logging is imported.
    logging.disable(logging.NOTSET if verbose else logging.WARNING)


@contextlib.contextmanager
def logs_to(path: str, verbose: bool) -> Iterator[TextIO]:
    """Sends all logs, and standard error of native code, to a file; yields the real standard error.

    Args:
      path: the log file; its folder is created.
      verbose: whether to show everything on the screen too.
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
            target.addFilter(_is_relevant)
        _quiet_absl()
        try:
            yield screen
        finally:
            sys.stderr.flush()
            os.dup2(screen_fd, 2)
            root.handlers, root.level = before
            screen.close()


class _Printable(logging.Formatter):
    """Escapes control characters, because file names and image ids are untrusted."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep='\n\t')


def _is_relevant(record: logging.LogRecord) -> bool:
    """False for a warning that current TFX logs at each query of the metadata store.

    The store no longer has a query language that TFX does not need.
    """
    return 'non-ZetaSQL' not in str(record.msg)


def _quiet_absl() -> None:
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.INFO)
    absl_logging.set_stderrthreshold('fatal')
