"""Shows a run on Kubeflow: a line for each step, and the progress of running steps."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from pipeline.kubeflow.runs import Run, Step
from pipeline.kubeflow.server_errors import ServerError

INTERVAL_S = 5.0
# Failed requests in a row, e.g. while a port-forward is down or the server moves to another node.
_MAX_FAILURES = 24
_NAME_WIDTH = 18
_STYLES = {
    'done': 'green',
    'cached': 'cyan',
    'failed': 'bold red',
    'stopped': 'red',
    'running': 'yellow',
    'waiting': 'dim',
    'skipped': 'dim',
}
_RUN_STYLES = {'SUCCEEDED': 'bold green', 'FAILED': 'bold red', 'CANCELED': 'bold red'}


def line(step: Step) -> Text:
    """The line for a step."""
    seconds = f'{step.seconds:7.0f} s' if step.seconds is not None else ' ' * 9
    return Text.assemble(
        (f'{step.state:>8}', _STYLES[step.state]),
        f'  {step.name:<{_NAME_WIDTH}} {seconds}  ',
        (step.detail, 'dim'),
        no_wrap=True,
    )


def conclude(run: Run, console: Console) -> None:
    """Prints the state of a run, and after a failure the commands that show the logs."""
    console.print(
        Text.assemble(run.name, '  ', (run.state.lower(), _RUN_STYLES.get(run.state, 'yellow')))
    )
    if run.state in ('FAILED', 'CANCELED') and run.error:
        console.print(run.error, markup=False, soft_wrap=True)
    for step in run.steps:
        if step.state == 'failed':
            console.print(
                f'  cxr-triage logs {run.run_id} {step.name}', markup=False, soft_wrap=True
            )


class Follower:
    """Shows steps as they begin and end."""

    def __init__(self, console: Console):
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn(
                f'{{task.description:<{_NAME_WIDTH}}} {{task.fields[seconds]:7.0f}} s  '
                '{task.fields[detail]}',
                markup=False,
            ),
            console=console,
            transient=True,
            refresh_per_second=4,
            disable=not console.is_terminal,
        )
        self._running: dict[str, TaskID] = {}
        self._details: dict[str, str] = {}
        self._printed: set[str] = set()

    def show(self, run: Run) -> None:
        """Shows what is new since the last call."""
        for step in run.steps:
            if step.name in self._printed or step.state == 'waiting':
                continue
            if step.state == 'running':
                if step.name not in self._running:
                    self._running[step.name] = self._progress.add_task(
                        step.name, seconds=0, detail=''
                    )
                # The detail matters: a missing node or image can delay a run for hours.
                if not self._console.is_terminal and self._details.get(step.name) != step.detail:
                    self._console.print(line(dataclasses.replace(step, seconds=None)))
                self._details[step.name] = step.detail
                self._progress.update(
                    self._running[step.name], seconds=step.seconds or 0, detail=step.detail
                )
                continue
            # Skipped steps are printed at the end only: such a step can still wait for another
            # attempt.
            if step.state == 'skipped' and not run.finished:
                continue
            if (task := self._running.pop(step.name, None)) is not None:
                self._progress.remove_task(task)
            self._console.print(line(step))
            self._printed.add(step.name)
        # The root driver is a step only until it is done.
        for name in self._running.keys() - {step.name for step in run.steps}:
            self._progress.remove_task(self._running.pop(name))

    def follow(self, request: Callable[[], Run]) -> Run:
        """Shows a run until it has ended, and returns it.

        Args:
          request: returns the current state of the run.

        Raises:
          ServerError: the server refused, or did not answer for more than two minutes.
        """
        failures = 0
        with self._progress:
            while True:
                try:
                    run = request()
                except ServerError as error:
                    failures += 1
                    if not error.temporary or failures > _MAX_FAILURES:
                        raise
                    if failures == 1:
                        self._console.print(Text(f'  ! {error}; trying again', style='yellow'))
                else:
                    failures = 0
                    self.show(run)
                    if run.finished:
                        return run
                time.sleep(INTERVAL_S)
