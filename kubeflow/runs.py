"""What became of a run and its steps, read from what Kubeflow's API server answers. Plain dictionaries, no kfp here.

The server (2.15 - 2.17) tells it in two forms. `v2beta1` has the states and times of steps but neither the pods, by which logs are found,
nor whether a step came from the cache. Both stand in Argo's workflow, which `v1beta1` hands out.
"""

from __future__ import annotations

import dataclasses
import datetime
import graphlib
from typing import Any, Literal

StepState = Literal['waiting', 'running', 'done', 'cached', 'failed', 'skipped']
_FINISHED = ('SUCCEEDED', 'FAILED', 'CANCELED', 'SKIPPED')
_FAILED = ('Failed', 'Error')
# Argo's phase -> state, and v2beta1's state -> state.
_STATES: dict[str, StepState] = {
    **{'Pending': 'running', 'Running': 'running', 'Succeeded': 'done', 'Failed': 'failed', 'Error': 'failed'},
    **{'Skipped': 'skipped', 'Omitted': 'skipped'},
    **{'PENDING': 'running', 'RUNNING': 'running', 'SUCCEEDED': 'done', 'FAILED': 'failed', 'SKIPPED': 'skipped', 'CANCELED': 'failed'},
}
_POD_NAME_FORMAT = 'workflows.argoproj.io/pod-name-format'


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of a run.

    Attributes:
      name: of the component.
      state: 'waiting' has not begun; 'skipped' never will, since one before it failed or the run was cancelled.
      seconds: since its driver started, to its end or to now; None where it has not begun.
      detail: why it failed, or which attempt this is.
      pods: those of its container, one an attempt, and where that never started the driver's.
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
      state: Kubeflow's own word for it, but CANCELED also where Kubeflow calls a cancelled run failed.
      folder: where its artifacts are; '' where the server does not say.
      namespace: of its pods; '' where the server does not say.
      error: why it failed as a whole.
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
        """Whether nothing more will happen."""
        return self.state in _FINISHED


def read(run: dict[str, Any], workflow: dict[str, Any], now: datetime.datetime) -> Run:
    """A run from the server's answers.

    Args:
      run: of `v2beta1`, with the names that the API has (`run_id`, `display_name`, …).
      workflow: Argo's; empty where the server has none, or none yet.
      now: with a time zone.
    """
    spec = run.get('pipeline_spec') or {}
    # With a platform document beside it, the specification is one level down.
    spec = spec.get('pipeline_spec', spec)
    names = _in_order(spec)
    root, pipeline = (run.get('runtime_config') or {}).get('pipeline_root'), spec.get('pipelineInfo', {}).get('name')
    if workflow.get('status', {}).get('nodes'):
        steps = _from_workflow(workflow, names, now)
    else:
        steps = _from_details((run.get('run_details') or {}).get('task_details') or [], names, now)
    state = run.get('state') or 'PENDING'
    history = [entry.get('state') for entry in run.get('state_history') or ()]
    # Kubeflow ends a run by giving its workflow no more time, and calls it failed then.
    stopped = workflow.get('spec', {}).get('activeDeadlineSeconds') == 0 or 'CANCELING' in history
    if state in _FINISHED:
        steps = [dataclasses.replace(step, state='skipped') if step.state == 'waiting' else step for step in steps]
    return Run(
        run_id=run['run_id'],
        name=run.get('display_name') or '',
        state='CANCELED' if state == 'FAILED' and stopped else state,
        steps=tuple(steps),
        folder=f'{root}/{pipeline}/{run["run_id"]}' if root and pipeline else '',
        namespace=workflow.get('metadata', {}).get('namespace') or '',
        error=(run.get('error') or {}).get('message') or workflow.get('status', {}).get('message') or '',
    )


def _in_order(spec: dict[str, Any]) -> list[str]:
    """The steps of a specification, each after those that it needs."""
    tasks = spec.get('root', {}).get('dag', {}).get('tasks', {})
    before = {}
    for name, task in sorted(tasks.items()):
        artifacts = task.get('inputs', {}).get('artifacts', {}).values()
        producers = {source.get('taskOutputArtifact', {}).get('producerTask') for source in artifacts}
        before[name] = sorted({*producers, *task.get('dependentTasks', ())} - {None})
    return list(graphlib.TopologicalSorter(before).static_order())


def _from_workflow(workflow: dict[str, Any], names: list[str], now: datetime.datetime) -> list[Step]:
    nodes = list(workflow['status']['nodes'].values())
    drivers = {node['displayName'].removesuffix('-driver'): node for node in nodes if node['displayName'].endswith('-driver')}
    by_name = {node['displayName']: node for node in nodes if node['displayName'] in drivers or node['displayName'] in names}
    steps = []
    for name in names or [name for name in drivers if name != 'root']:
        driver, node = drivers.get(name), by_name.get(name)
        if driver is None and node is None:
            steps.append(Step(name, 'waiting'))
            continue
        attempts = sorted(
            (each for each in nodes if node and each.get('boundaryID') == node['id'] and each.get('type') == 'Pod'),
            key=lambda each: each.get('startedAt') or '',
        )
        state = _state(driver, node)
        pods = attempts or ([driver] if driver and driver['phase'] in _FAILED else [])
        last = pods[-1] if pods else {}
        detail = (last.get('message') or (node or {}).get('message') or 'no reason given') if state == 'failed' else ''
        if len(attempts) > 1:
            detail = f'attempt {len(attempts)}' + (f': {detail}' if detail else '')
        seconds = _seconds([each for each in (driver, node) if each], state == 'running', now)
        steps.append(Step(name, state, seconds, detail, tuple(_pod_name(workflow, each) for each in pods)))
    return steps


def _state(driver: dict[str, Any] | None, node: dict[str, Any] | None) -> StepState:
    if driver and driver['phase'] in _FAILED:
        return 'failed'
    if node is None:
        return 'running'  # its driver is at work
    state = _STATES.get(node['phase'], 'running')
    # The driver decides whether the cache has it: https://www.kubeflow.org/docs/components/pipelines/user-guides/core-functions/caching
    outputs = {each['name']: each.get('value') for each in ((driver or {}).get('outputs') or {}).get('parameters', ())}
    return 'cached' if state == 'done' and outputs.get('cached-decision') == 'true' else state


def _from_details(details: list[dict[str, Any]], names: list[str], now: datetime.datetime) -> list[Step]:
    """Without pods, and without telling what came from the cache."""
    by_name = {detail.get('display_name') or '': detail for detail in details}
    steps = []
    for name in names:
        found = by_name.get(name)
        state = _STATES.get(found.get('state') or '', 'running') if found else 'waiting'
        times = [{'startedAt': found.get('start_time'), 'finishedAt': found.get('end_time')}] if found else []
        steps.append(Step(name, state, _seconds(times, state == 'running', now)))
    return steps


def _seconds(parts: list[dict[str, Any]], running: bool, now: datetime.datetime) -> float | None:
    starts = [moment for part in parts if (moment := _moment(part.get('startedAt')))]
    ends = [now] if running else [moment for part in parts if (moment := _moment(part.get('finishedAt')))]
    return max(0.0, (max(ends) - min(starts)).total_seconds()) if starts and ends else None


def _moment(text: str | datetime.datetime | None) -> datetime.datetime | None:
    """A moment from what the API says, None for the years 1 and 1970 too, by which it means none."""
    if not text:
        return None
    found = text if isinstance(text, datetime.datetime) else datetime.datetime.fromisoformat(text.replace('Z', '+00:00'))
    return found if found.timestamp() > 0 else None


def _pod_name(workflow: dict[str, Any], node: dict[str, Any]) -> str:
    """As Argo names pods (and KFP's backend/src/common/util/workflow.go): the node's id has no template in it, the pod's name has."""
    metadata = workflow.get('metadata', {})
    if (metadata.get('annotations') or {}).get(_POD_NAME_FORMAT) == 'v1':
        return node['id']
    return f'{metadata["name"]}-{node["templateName"]}-{node["id"].rpartition("-")[2]}'
