"""The progress of a remote run, on a terminal and in a log file."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipeline.kubeflow import display as remote_display
from pipeline.kubeflow.runs import Run, Step


def test_a_terminal_shows_running_steps() -> None:
    screen = io.StringIO()
    states = iter(
        [
            [Step('Trainer', 'running', 1.0)],
            [Step('Trainer', 'running', 700.0)],
            [Step('Trainer', 'done', 730.0)],
        ]
    )
    screens: list[str] = []

    def read_run() -> Run:
        screens.append(screen.getvalue())
        (step,) = next(states)
        return Run('r', 'n', 'SUCCEEDED' if step.state == 'done' else 'RUNNING', (step,))

    follower = remote_display.Follower(Console(file=screen, force_terminal=True, width=100))
    with pytest.MonkeyPatch.context() as monkeypatch:
        # Longer than the refresh interval of the display.
        monkeypatch.setattr(remote_display, 'INTERVAL_S', 0.6)
        assert follower.follow(read_run).state == 'SUCCEEDED'
    assert 'Trainer' in screens[-1] and 'done' not in screens[-1]
    assert '730 s' in screen.getvalue()


def test_a_log_file_names_once_what_a_step_waits_for() -> None:
    screen = io.StringIO()
    follower = remote_display.Follower(Console(file=screen, width=100))
    waiting = Step('root-driver', 'running', 1.0, 'Unschedulable: 0/3 nodes')
    updates = [
        (Step('root-driver', 'running', 0.0),),
        (waiting,),
        (waiting,),
        (Step('A', 'running', 1.0),),
        (Step('A', 'done', 9.0),),
    ]
    for steps in updates:
        follower.show(Run('r', 'n', 'RUNNING', steps))
    lines = [line.rstrip().split(maxsplit=2) for line in screen.getvalue().splitlines()]
    assert lines == [
        ['running', 'root-driver'],
        ['running', 'root-driver', 'Unschedulable: 0/3 nodes'],
        ['running', 'A'],
        ['done', 'A', '9 s'],
    ]


def test_a_terminal_hides_the_finished_root_driver() -> None:
    screen = io.StringIO()
    follower = remote_display.Follower(Console(file=screen, force_terminal=True, width=100))
    follower.show(
        Run(
            'r',
            'n',
            'RUNNING',
            (Step('root-driver', 'running', 1.0, 'Unschedulable: 0/3 [nodes]'),),
        )
    )
    assert [task.description for task in follower._progress.tasks] == ['root-driver']
    follower.show(Run('r', 'n', 'RUNNING', (Step('A', 'running', 1.0),)))
    assert [task.description for task in follower._progress.tasks] == ['A']
