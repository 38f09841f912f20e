"""The states of a run and its steps, from captured and from synthetic workflow nodes."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from pipeline.kubeflow import runs
from tests.support.argo_nodes import ArgoNodes, Node

_NOW = datetime.datetime(2026, 1, 1, 0, 10, tzinfo=datetime.timezone.utc)
_CAPTURED = json.loads((Path(__file__).parent / 'captured_runs' / 'failed-2.17.0.json').read_text())
_FAILED = ('Failed', 'main: Error (exit code 1)')
_DELETED = ('Error', 'pod deleted')
_DONE = ('Succeeded', '')
_RUNNING = ('Running', '')


@pytest.fixture(params=[False, True], ids=['2.16', '2.17'])
def tree(request: pytest.FixtureRequest) -> ArgoNodes:
    """The nodes of a workflow, in the forms of two versions of Kubeflow."""
    return ArgoNodes('w', every_template_retries=request.param)


def _root(tree: ArgoNodes) -> Node:
    """Adds the running graph of steps, with its finished driver."""
    (top,) = tree.add('', 'DAG', _RUNNING)
    tree.add('root-driver', 'Pod', _DONE, inside=top)
    (root,) = tree.add('root', 'DAG', _RUNNING, inside=top)
    return root


def _read(
    tree: ArgoNodes,
    state: str = 'RUNNING',
    tasks: tuple[str, ...] = ('B', 'A'),
    spec: dict | None = None,
) -> runs.Run:
    waits = {'dependentTasks': ['A']}
    pipeline = {'root': {'dag': {'tasks': {name: waits if name == 'B' else {} for name in tasks}}}}
    workflow = {
        'metadata': {'name': 'w'},
        'spec': spec or {},
        'status': {'nodes': {node['id']: node for node in tree.nodes}},
    }
    run = {
        'run_id': 'r',
        'display_name': 'n',
        'state': state,
        'pipeline_spec': {'pipeline_spec': pipeline},
    }
    return runs.read(run, workflow, _NOW)


def _names(*nodes: Node) -> tuple[str, ...]:
    return tuple(node['pod'] for node in nodes)


def test_a_failed_run_captured_on_2_17() -> None:
    run = runs.read(_CAPTURED['run'], _CAPTURED['workflow'], _NOW)
    assert (run.state, run.namespace) == ('FAILED', 'kubeflow')
    assert run.folder == 'minio://mlpipeline/runs/demo/17afda16-d105-4f54-aa32-7bb78befd917'
    pod = 'demo-89a66-retry-system-container-impl-'
    assert run.steps[:3] == (
        runs.Step('Baseline', 'done', 20.0, '', (f'{pod}2290142359',)),
        runs.Step('CuratedSchema', 'done', 20.0, '', (f'{pod}3850237903',)),
        runs.Step(
            'XrayExampleGen', 'failed', 20.0, 'main: Error (exit code 1)', (f'{pod}1795470034',)
        ),
    )
    assert [(step.state, step.pods) for step in run.steps[3:]] == [('skipped', ())] * 9


def test_a_captured_run_has_states_without_the_older_api() -> None:
    run = runs.read(_CAPTURED['run'], {}, _NOW)
    states = {step.name: step.state for step in run.steps}
    assert states.pop('XrayExampleGen') == 'failed'
    assert states.pop('Baseline') == states.pop('CuratedSchema') == 'done'
    assert set(states.values()) == {'skipped'}


def test_a_step_that_has_not_started(tree: ArgoNodes) -> None:
    _root(tree)
    assert _read(tree).steps == (runs.Step('A', 'waiting'), runs.Step('B', 'waiting'))


@pytest.mark.parametrize(
    ('phase', 'message', 'detail'),
    [
        ('Running', '', ''),
        ('Pending', 'PodInitializing', ''),
        (
            'Pending',
            'Unschedulable: 0/3 nodes are available',
            'Unschedulable: 0/3 nodes are available',
        ),
        (
            'Pending',
            'ImagePullBackOff: Back-off pulling image "x"',
            'ImagePullBackOff: Back-off pulling image "x"',
        ),
    ],
    ids=['running', 'starting', 'no node', 'no image'],
)
@pytest.mark.parametrize('pod_kind', ['driver', 'step', 'root driver'])
def test_a_waiting_pod_gives_the_reason(
    tree: ArgoNodes, pod_kind: str, phase: str, message: str, detail: str
) -> None:
    if pod_kind == 'root driver':
        (top,) = tree.add('', 'DAG', _RUNNING)
        (pod,) = tree.add('root-driver', 'Pod', (phase, message), inside=top)
        name = 'root-driver'
    else:
        root, name = _root(tree), 'A'
        (pod,) = tree.add(
            'A-driver', 'Pod', (phase, message) if pod_kind == 'driver' else _DONE, inside=root
        )
        if pod_kind == 'step':
            (step,) = tree.add('A', 'DAG', _RUNNING, inside=root)
            (pod,) = tree.add('executor', 'Pod', (phase, message), inside=step, retries=True)
    first, *later = _read(tree).steps
    assert first == runs.Step(name, 'running', 600.0, detail, _names(pod))
    assert {step.state for step in later} == {'waiting'}


def test_a_failed_driver(tree: ArgoNodes) -> None:
    root = _root(tree)
    (driver,) = tree.add('A-driver', 'Pod', ('Failed', 'OOMKilled'), inside=root)
    tree.add('A', 'Skipped', ('Omitted', 'omitted: depends condition not met'), inside=root)
    assert _read(tree).steps[0] == runs.Step('A', 'failed', 60.0, 'OOMKilled', _names(driver))


def test_a_failed_root_driver_is_named_with_its_pod(tree: ArgoNodes) -> None:
    (top,) = tree.add('', 'DAG', ('Failed', ''))
    (driver,) = tree.add('root-driver', 'Pod', ('Failed', 'main: Error (exit code 1)'), inside=top)
    tree.add('root', 'Skipped', ('Omitted', 'omitted: depends condition not met'), inside=top)
    first, *later = _read(tree, 'FAILED').steps
    assert first == runs.Step(
        'root-driver', 'failed', 60.0, 'main: Error (exit code 1)', _names(driver)
    )
    assert [step.state for step in later] == ['skipped', 'skipped']


def test_a_step_that_never_ran(tree: ArgoNodes) -> None:
    root = _root(tree)
    tree.add('A-driver', 'Skipped', ('Omitted', 'omitted: depends condition not met'), inside=root)
    tree.add('A', 'Skipped', ('Omitted', 'omitted: depends condition not met'), inside=root)
    assert _read(tree).steps[0] == runs.Step('A', 'skipped', 60.0)


def test_a_cached_step(tree: ArgoNodes) -> None:
    root = _root(tree)
    tree.add('A-driver', 'Pod', _DONE, inside=root)
    for node in tree.nodes:
        if node['displayName'].startswith('A-driver'):
            node['outputs'] = {'parameters': [{'name': 'cached-decision', 'value': 'true'}]}
    (step,) = tree.add('A', 'DAG', _DONE, inside=root)
    tree.add('executor', 'Skipped', ('Skipped', ''), inside=step)
    assert _read(tree).steps[0] == runs.Step('A', 'cached', 60.0)


@pytest.mark.parametrize(
    ('attempts', 'phase', 'expected'),
    [
        ((_DONE,), 'Succeeded', ('done', '')),
        ((_FAILED, _RUNNING), 'Running', ('running', 'attempt 2')),
        ((_FAILED,), 'Running', ('running', 'attempt 1: main: Error (exit code 1)')),
        ((_FAILED, _FAILED, _FAILED), 'Failed', ('failed', 'attempt 3: main: Error (exit code 1)')),
        ((_DELETED, _DONE), 'Succeeded', ('done', 'attempt 2')),
    ],
    ids=['first', 'second', 'before the second', 'last', 'deleted'],
)
def test_a_step_has_the_pods_of_all_attempts(
    tree: ArgoNodes, attempts: tuple, phase: str, expected: tuple[str, str]
) -> None:
    root = _root(tree)
    tree.add('A-driver', 'Pod', _DONE, inside=root)
    (step,) = tree.add('A', 'DAG', (phase, ''), inside=root)
    pods = tree.add('executor', 'Pod', *attempts, inside=step, retries=True)
    step = _read(tree).steps[0]
    assert (step.state, step.detail, step.pods) == (*expected, _names(*pods))


def test_retries_of_a_whole_step_and_of_the_graph() -> None:
    tree = ArgoNodes('w', every_template_retries=True)
    (top,) = tree.add('', 'DAG', _RUNNING)
    tree.add('root-driver', 'Pod', _DELETED, _DONE, inside=top)
    before, root = tree.add('root', 'DAG', _DELETED, _RUNNING, inside=top)
    (step,) = tree.add('A', 'DAG', _FAILED, inside=before)
    tree.add('executor', 'Pod', _FAILED, inside=step, retries=True)
    tree.add('A-driver', 'Pod', _DELETED, _DONE, inside=root)
    first, second = tree.add('A', 'DAG', _DELETED, _RUNNING, inside=root)
    pods = tree.add('executor', 'Pod', _DELETED, _DELETED, inside=first, retries=True)
    pods += tree.add('executor', 'Pod', _RUNNING, inside=second, retries=True)
    assert _read(tree).steps[0] == runs.Step('A', 'running', 600.0, 'attempt 3', _names(*pods))


def test_steps_are_in_the_order_of_execution(tree: ArgoNodes) -> None:
    _root(tree)
    assert [step.name for step in _read(tree, tasks=('B', 'A')).steps] == ['A', 'B']


def test_pods_of_older_argo_versions_have_the_name_of_the_node(tree: ArgoNodes) -> None:
    (pod,) = tree.add('', 'Pod', _DONE)
    annotations = {'workflows.argoproj.io/pod-name-format': 'v1'}
    workflow = {
        'metadata': {'name': 'w', 'annotations': annotations},
        'status': {'nodes': {node['id']: node for node in tree.nodes}},
    }
    assert runs.Nodes(workflow).pod_name(pod) == pod['id']


@pytest.mark.parametrize(
    ('history', 'state'), [([], 'FAILED'), ([{'state': 'CANCELING'}], 'CANCELED')]
)
def test_a_cancelled_run_is_not_failed(history: list, state: str) -> None:
    assert (
        runs.read({'run_id': 'r', 'state': 'FAILED', 'state_history': history}, {}, _NOW).state
        == state
    )


@pytest.mark.parametrize(
    ('phase', 'message', 'summary'),
    [
        (
            'Failed',
            'Step exceeded its deadline',
            'retry exceeded workflow deadline 2026-01-01 00:00:00 +0000 UTC',
        ),
        # Argo read the exit code of the pod last.
        (
            'Failed',
            'main: Error (exit code 143)',
            'retry exceeded workflow deadline 2026-01-01 00:00:00 +0000 UTC',
        ),
        ('Error', 'pod deleted', "Stopped with strategy 'Terminate'"),
    ],
)
def test_running_steps_of_a_cancelled_run_are_stopped(
    tree: ArgoNodes, phase: str, message: str, summary: str
) -> None:
    root = _root(tree)
    pods = []
    for name, attempt, above in (
        ('A', _FAILED, 'No more retries left'),
        ('C', (phase, message), summary),
    ):
        tree.add(f'{name}-driver', 'Pod', _DONE, inside=root)
        (step,) = tree.add(name, 'DAG', (phase, ''), inside=root, summary=above)
        pods += tree.add('executor', 'Pod', attempt, inside=step, retries=True, summary=above)
    run = _read(tree, 'FAILED', ('A', 'B', 'C'), spec={'activeDeadlineSeconds': 0})
    assert run.state == 'CANCELED'
    steps = {step.name: step for step in run.steps}
    assert steps['C'] == runs.Step('C', 'stopped', 60.0, 'the run was cancelled', _names(pods[1]))
    # This step failed before the run was cancelled.
    assert steps['A'] == runs.Step(
        'A', 'failed', 60.0, 'main: Error (exit code 1)', _names(pods[0])
    )
    assert steps['B'].state == 'skipped'


def test_a_step_that_exceeds_its_deadline_has_failed(tree: ArgoNodes) -> None:
    root = _root(tree)
    tree.add('A-driver', 'Pod', _DONE, inside=root)
    (step,) = tree.add('A', 'DAG', ('Failed', ''), inside=root)
    tree.add('executor', 'Pod', ('Failed', 'Step exceeded its deadline'), inside=step, retries=True)
    run = _read(tree, 'FAILED', spec={'activeDeadlineSeconds': 3600})
    assert run.state == 'FAILED'
    assert (run.steps[0].state, run.steps[0].detail) == ('failed', 'Step exceeded its deadline')
