"""Starts `cxr-triage` by forking a process that has loaded TensorFlow and TFX.

These imports take most of the time of a short command. The process is a fork server of
`multiprocessing`. It loads only third-party packages; the fork imports the program itself, from the
source tree of the test. Tests of start-up need a fresh interpreter: those of quiet imports, of exit
codes before any import, and of start-up time.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

_PACKAGES = (
    'tensorflow',
    'tf_keras',
    'tensorflow_transform',
    'tensorflow_data_validation',
    'tensorflow_model_analysis',
    'tfx.components',
    'tfx.orchestration.portable.launcher',
    'tfx.orchestration.local.runner_utils',
    'ml_metadata',
    'apache_beam',
    'pandas',
    'scipy.stats',
    'rich.console',
)


class WarmProcess:
    """A command in a fork, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, arguments: list[str], cwd: Path, environment: dict[str, str], screen: Path):
        screen.write_bytes(b'')
        context = multiprocessing.get_context('forkserver')
        # The list is always the same, so the server starts once for each test process.
        context.set_forkserver_preload(list(_PACKAGES))
        self._process = context.Process(
            target=_run, args=(arguments, str(cwd), environment, str(screen))
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, the negative number of the signal that ended it, or None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code, as `returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end.

        Raises:
          subprocess.TimeoutExpired: the command takes longer than `timeout` seconds.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired('cxr-triage', timeout or 0)
        return self.returncode


def _run(arguments: list[str], cwd: str, environment: dict[str, str], screen: str) -> None:
    """Turns the fork into `python -m cxr_triage ARGUMENT...` in a new session."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    target = os.open(screen, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, 'w', closefd=False)  # noqa: SIM115
    sys.stderr = open(2, 'w', closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[:] = [
        cwd,
        *(path for path in sys.path if 'site-packages' in path or path.startswith(sys.base_prefix)),
    ]
    sys.argv = ['cxr-triage', *arguments]
    atexit._clear()
    try:
        runpy.run_module('cli.main', run_name='__main__', alter_sys=True)
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
