"""Reads the state of a run and its steps from the responses of Kubeflow's API server.

The server (2.15 - 2.17) has two API versions. `v2beta1` has the states and times of steps, but
neither their pods, which are needed to find logs, nor whether a step came from the cache. Both are
in Argo's workflow, which `v1beta1` returns and `pipeline.kubeflow.nodes` reads.

Works on plain dictionaries and does not import kfp.
"""

from __future__ import annotations

import dataclasses
import datetime
import graphlib
from typing import Any, Literal

from pipeline.kubeflow import nodes
from pipeline.kubeflow.nodes import Node, Nodes

StepState = Literal['waiting', 'running', 'done', 'cached', 'failed', 'stopped', 'skipped']
# Runs first, and all steps wait for it; it is not in the specification.
ROOT_DRIVER = 'root-driver'
_FINISHED = ('SUCCEEDED', 'FAILED', 'CANCELED', 'SKIPPED')
_FAILED = ('Failed', 'Error')
# Argo's phase -> state, and v2beta1's state -> state.
_STATES: dict[str, StepState] = {
    **{
        'Pending': 'running',
        'Running': 'running',
        'Succeeded': 'done',
        'Failed': 'failed',
        'Error': 'failed',
    },
    **{'Skipped': 'skipped', 'Omitted': 'skipped'},
    **{
        'PENDING': 'running',
        'RUNNING': 'running',
        'SUCCEEDED': 'done',
        'FAILED': 'failed',
        'SKIPPED': 'skipped',
        'CANCELED': 'stopped',
    },
}
# Parts of Argo's messages for a pod that it ended together with the workflow
# (argoproj/argo-workflows 4.0, workflow/controller/exec_control.go and operator.go:
# processNodeRetries).
_STOPPED = ('exceeded its deadline', 'exceeded workflow deadline', 'with strategy')
# Argo's messages for a pod that starts normally.
_STARTING = ('ContainerCreating', 'PodInitializing')


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of a run.

    Attributes:
      name: id of the component.
      state: 'waiting': not started yet; 'skipped': will not start, because an earlier step failed
        or the run was cancelled; 'stopped': was running when the run was cancelled.
      seconds: time from the start of its driver to its end or to now; None if not started.
      detail: why it failed, what it waits for, or the number of the attempt.
      pods: the pods of its container, one for each attempt; before the first one exists, the pods
        of its driver.
    """

    name: str
    state: StepState
    seconds: float | None = None
    detail: str = ''
    pods: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
      run_id: the id at Kubeflow.
      name: the display name.
      state: Kubeflow's name of the state, but CANCELED for a cancelled run that Kubeflow reports as
        failed.
      steps: the steps in order.
      folder: the folder of its artifacts; '' if the server does not report it.
      namespace: the namespace of its pods; '' if the server does not report it.
      error: why the run as a whole failed.
    """

    run_id: str
    name: str
    state: str
    steps: tuple[Step, ...]
    folder: str = ''
    namespace: str = ''
    error: str = ''

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self.state in _FINISHED


def read(run: dict[str, Any], workflow: dict[str, Any], now: datetime.datetime) -> Run:
    """Makes a run from the server's responses.

    Args:
      run: a run of `v2beta1`, with the names of the API (`run_id`, `display_name`, …).
      workflow: Argo's workflow; empty if the server has none.
      now: the current time, with a time zone.
    """
    spec = run.get('pipeline_spec') or {}
    # If there is a platform document too, the specification is one level down.
    spec = spec.get('pipeline_spec', spec)
    names = _in_order(spec)
    root, pipeline = (
        (run.get('runtime_config') or {}).get('pipeline_root'),
        spec.get('pipelineInfo', {}).get('name'),
    )
    state = run.get('state') or 'PENDING'
    history = [entry.get('state') for entry in run.get('state_history') or ()]
    # Kubeflow cancels a run by setting the deadline of its workflow to 0, and then reports it as
    # failed.
    stopped = workflow.get('spec', {}).get('activeDeadlineSeconds') == 0 or 'CANCELING' in history
    if workflow.get('status', {}).get('nodes'):
        steps = _from_workflow(workflow, names, stopped, now)
    else:
        steps = _from_details((run.get('run_details') or {}).get('task_details') or [], names, now)
    if state in _FINISHED:
        steps = [
            dataclasses.replace(step, state='skipped') if step.state == 'waiting' else step
            for step in steps
        ]
    return Run(
        run_id=run['run_id'],
        name=run.get('display_name') or '',
        state='CANCELED' if state == 'FAILED' and stopped else state,
        steps=tuple(steps),
        folder=f'{root}/{pipeline}/{run["run_id"]}' if root and pipeline else '',
        namespace=workflow.get('metadata', {}).get('namespace') or '',
        error=(run.get('error') or {}).get('message')
        or workflow.get('status', {}).get('message')
        or '',
    )


def _in_order(spec: dict[str, Any]) -> list[str]:
    """The steps of a specification, each after the steps that it depends on."""
    tasks = spec.get('root', {}).get('dag', {}).get('tasks', {})
    dependencies = {}
    for name, task in sorted(tasks.items()):
        artifacts = task.get('inputs', {}).get('artifacts', {}).values()
        producers = {
            source.get('taskOutputArtifact', {}).get('producerTask') for source in artifacts
        }
        dependencies[name] = sorted({*producers, *task.get('dependentTasks', ())} - {None})
    return list(graphlib.TopologicalSorter(dependencies).static_order())


def _from_workflow(
    workflow: dict[str, Any], names: list[str], stopped: bool, now: datetime.datetime
) -> list[Step]:
    tree = Nodes(workflow)
    root_driver, templates = tree.root()
    drivers = {
        name.removesuffix('-driver'): node
        for name, node in templates.items()
        if name.endswith('-driver')
    }
    reader = _Reader(tree, stopped, now)
    steps = [reader.step(name, drivers.get(name), templates.get(name)) for name in names or drivers]
    # While the root driver runs or after it failed, no other step shows what the run waits for.
    if root_driver is None or root_driver['phase'] == 'Succeeded':
        return steps
    return [reader.step(ROOT_DRIVER, root_driver, None), *steps]


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads steps from Argo's nodes; `stopped` is True for a cancelled run."""

    tree: Nodes
    stopped: bool
    now: datetime.datetime

    def step(self, name: str, driver: Node | None, node: Node | None) -> Step:
        """A step from its driver's node and its own node, each None if it does not exist yet."""
        if driver is None and node is None:
            return Step(name, 'waiting')
        attempts = self.tree.pods(node) if node else []
        state = _state(driver, node)
        pods = attempts
        if not attempts and driver and driver['phase'] not in ('Succeeded', 'Skipped', 'Omitted'):
            pods = self.tree.pods(driver)
        # If its driver failed, the message of the step itself says only that it was omitted.
        source = driver if driver and (node is None or driver['phase'] in _FAILED) else node
        messages = (
            [part['message'] for part in self.tree.below(source) if part.get('message')]
            if source
            else []
        )
        if (
            self.stopped
            and state == 'failed'
            and any(text in message for text in _STOPPED for message in messages)
        ):
            state = 'stopped'
        detail = self._detail(state, pods, messages)
        if len(attempts) > 1 or (
            state == 'running' and attempts and attempts[-1]['phase'] in _FAILED
        ):
            detail = f'attempt {len(attempts)}' + (f': {detail}' if detail else '')
        seconds = _seconds([part for part in (driver, node) if part], state == 'running', self.now)
        return Step(name, state, seconds, detail, tuple(self.tree.pod_name(pod) for pod in pods))

    @staticmethod
    def _detail(state: StepState, pods: list[Node], messages: list[str]) -> str:
        """Why a step failed or what it waits for: the message of its last pod, or another one."""
        last = pods[-1] if pods else {}
        reason = last.get('message') or next(iter(messages), '')
        if state == 'failed':
            return reason or 'no reason given'
        if state == 'stopped':
            return 'the run was cancelled'
        # The pod has not started yet, or it failed and another one will follow.
        is_waiting = (
            state == 'running' and last.get('phase') != 'Running' and reason not in _STARTING
        )
        return reason if is_waiting else ''


def _state(driver: Node | None, node: Node | None) -> StepState:
    if driver and driver['phase'] in _FAILED:
        return 'failed'
    if node is None:
        return 'running'  # its driver runs
    state = _STATES.get(node['phase'], 'running')
    # The driver decides whether the step comes from the cache:
    # https://www.kubeflow.org/docs/components/pipelines/user-guides/core-functions/caching
    return (
        'cached' if state == 'done' and nodes.output(driver, 'cached-decision') == 'true' else state
    )


def _from_details(
    details: list[dict[str, Any]], names: list[str], now: datetime.datetime
) -> list[Step]:
    """The steps without Argo's workflow: no pods, no reasons, and no state 'cached'."""
    tasks = {task.get('display_name') or '': task for task in details}
    steps = [_from_task(name, tasks.get(f'{name}-driver'), tasks.get(name), now) for name in names]
    root = _from_task(ROOT_DRIVER, tasks.get(ROOT_DRIVER), None, now)
    return steps if root.state in ('waiting', 'done') else [root, *steps]


def _from_task(
    name: str, driver: dict[str, Any] | None, task: dict[str, Any] | None, now: datetime.datetime
) -> Step:
    parts = [part for part in (driver, task) if part]
    if not parts:
        return Step(name, 'waiting')
    states = [_task_state(part) for part in parts]
    # The step runs while its driver runs, and fails if its driver fails.
    state = states[0] if states[0] in ('failed', 'stopped') else states[-1]
    if task is None and name != ROOT_DRIVER and state == 'done':
        state = 'running'
    times = [
        {'startedAt': part.get('start_time'), 'finishedAt': part.get('end_time')} for part in parts
    ]
    return Step(name, state, _seconds(times, state == 'running', now))


def _task_state(task: dict[str, Any]) -> StepState:
    # A task that Argo omitted has an end but no state.
    return _STATES.get(
        task.get('state') or '', 'skipped' if _moment(task.get('end_time')) else 'running'
    )


def _seconds(parts: list[dict[str, Any]], running: bool, now: datetime.datetime) -> float | None:
    starts = [moment for part in parts if (moment := _moment(part.get('startedAt')))]
    finishes = (
        [now]
        if running
        else [moment for part in parts if (moment := _moment(part.get('finishedAt')))]
    )
    return max(0.0, (max(finishes) - min(starts)).total_seconds()) if starts and finishes else None


def _moment(text: str | datetime.datetime | None) -> datetime.datetime | None:
    """A time of the API; None also for the years 1 and 1970, which mean that there is no time."""
    if not text:
        return None
    moment = (
        text
        if isinstance(text, datetime.datetime)
        else datetime.datetime.fromisoformat(text.replace('Z', '+00:00'))
    )
    return moment if moment.timestamp() > 0 else None
