"""Shows a run on the screen: a line for each step, and the progress of the current one."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from pipeline.local_runner import Step
from pipeline.quiet import OWN
from pipeline.summary import result

_NAME_WIDTH = 18


class RunDisplay(logging.Handler):
    """Shows steps as they begin and end, and the messages of this project's own loggers.

    A log record with the attributes `done` and `total` moves the progress bar and adds no line.
    """

    def __init__(self, console: Console):
        super().__init__(logging.INFO)
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn('{task.description}'),
            BarColumn(bar_width=30),
            TextColumn('{task.fields[counts]} {task.fields[detail]}'),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task('', total=None, counts='', detail='', visible=False)

    def __enter__(self) -> RunDisplay:
        for name in OWN:
            logging.getLogger(name).addHandler(self)
        self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        self._progress.stop()
        for name in OWN:
            logging.getLogger(name).removeHandler(self)

    def begin(self, name: str, number: int, total: int) -> None:
        """Shows that a step is about to run: number `number`, from 0, of `total`."""
        self._progress.reset(
            self._task,
            description=f'{name} ({number + 1}/{total})',
            total=None,
            counts='',
            detail='',
            visible=True,
        )

    def end(self, step: Step) -> None:
        """Shows a step that is done, with its result."""
        self._line(
            'cached' if step.state == 'cached' else 'done', step.name, step.seconds, result(step)
        )

    def fail(self, name: str, seconds: float) -> None:
        """Shows a step that raised an error."""
        self._line('failed', name, seconds, '')

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a log record of this project."""
        if hasattr(record, 'total'):
            completed, total = record.done, record.total  # type: ignore[attr-defined]
            self._progress.update(
                self._task,
                completed=completed,
                total=total,
                counts=f'{completed:,}/{total:,}',
                detail=record.getMessage(),
            )
        elif record.levelno >= logging.WARNING:
            self._console.print(Text(f'  ! {record.getMessage()}', style='yellow'))
        else:
            self._console.print(Text(f'    {record.getMessage()}', style='dim'))

    def _line(self, state: str, name: str, seconds: float, detail: str) -> None:
        self._progress.update(self._task, visible=False)
        style = {'done': 'green', 'cached': 'cyan', 'failed': 'bold red'}[state]
        self._console.print(
            Text.assemble(
                (f'{state:>6}', style),
                f'  {name:<{_NAME_WIDTH}} {seconds:6.1f} s  ',
                (detail, 'dim'),
            )
        )
