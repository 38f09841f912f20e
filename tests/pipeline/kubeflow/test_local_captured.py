"""The interpreter gives each step the executor input that Kubeflow's driver gave it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from pipeline.kubeflow import entrypoint
from tests.support import captured_pipeline
from tests.support.kfp import driver
from tests.support.kfp.pods import Pod
from tests.support.kfp.runs import Cluster, Step

ROOT = 'minio://mlpipeline/v2/artifacts'


class Reporter:
    """Replaces each step: reports the output of the captured step."""

    def __init__(self, reports: dict[str, dict[str, dict]]):
        self._reports = reports
        self.commands: dict[str, list[str]] = {}

    def run(self, pod: Pod) -> int:
        pod.log.write_text('')
        executor_input = json.loads(pod.command[pod.command.index(entrypoint.INVOCATION) + 1])
        output_file = executor_input['outputs']['outputFile']
        *_, step, _, _ = output_file.split('/')
        self.commands[step] = pod.command
        mount = '/minio'
        path = pod.folders[mount] / output_file[len(mount) + 1 :]
        artifacts = {
            key: {'artifacts': [{'metadata': metadata}]}
            for key, metadata in self._reports.get(step, {}).items()
        }
        path.write_text(json.dumps({'artifacts': artifacts}))
        return 0


@pytest.fixture(scope='module')
def reporter(captured: dict[str, dict]) -> Reporter:
    """Replaces all steps."""
    return Reporter(captured_pipeline.reported(captured))


@pytest.fixture(scope='module')
def steps(
    captured: dict[str, dict], reporter: Reporter, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Step]:
    """The steps of the captured pipeline, run with the id and the paths of the captured run."""
    spec = captured_pipeline.compiled(captured)
    driver.check(spec)
    output_files = {
        name: executor_input['outputs']['outputFile'].split('/')
        for name, executor_input in captured.items()
    }
    (run_id,) = {parts[-4] for parts in output_files.values()}
    order = driver.sequence(driver.waits_for(driver.Run(spec, run_id, ROOT, {}, '')))
    ids = iter([run_id, *(output_files[name][-2] for name in order)])
    cluster = Cluster(tmp_path_factory.mktemp('cluster'), reporter, new_id=lambda: next(ids))
    return {step.name: step for step in cluster.submit((spec, {}), ROOT)}


def _split_ids(executor_input: dict) -> tuple[dict, dict[str, str]]:
    """Returns an executor input without input ids, and the ids by artifact URI.

    Ids have no fixed order.
    """
    executor_input = copy.deepcopy(executor_input)
    ids = {}
    for entry in executor_input['inputs'].get('artifacts', {}).values():
        for artifact in entry['artifacts']:
            ids[artifact['uri']] = artifact.pop('name')
    return executor_input, ids


def test_every_captured_step_runs(captured: dict[str, dict], steps: dict[str, Step]) -> None:
    assert set(steps) == set(captured)
    assert len(steps) == 9


@pytest.mark.parametrize(
    'name',
    [
        *('ImportExampleGen', 'ImportSchemaGen', 'StatisticsGen', 'SchemaGen', 'ExampleValidator'),
        *('Transform', 'Trainer', 'Evaluator', 'Pusher'),
    ],
)
def test_executor_input_equals_the_captured_one(
    captured: dict[str, dict], steps: dict[str, Step], name: str
) -> None:
    actual, _ = _split_ids(steps[name].executor_input)
    expected, _ = _split_ids(captured[name])
    assert actual == expected


def test_artifact_ids_correspond_to_the_captured_ones(
    captured: dict[str, dict], steps: dict[str, Step]
) -> None:
    pairs = set()
    for name, executor_input in captured.items():
        _, expected = _split_ids(executor_input)
        _, actual = _split_ids(steps[name].executor_input)
        pairs |= {(expected[uri], actual[uri]) for uri in expected}
    assert len(pairs) == 7
    assert all(number.isdigit() for pair in pairs for number in pair)
    # The mapping between the ids is one to one.
    assert len({pair[0] for pair in pairs}) == len({pair[1] for pair in pairs}) == len(pairs)


def test_the_command_has_the_attempt_in_the_uri_of_the_log(
    steps: dict[str, Step], reporter: Reporter
) -> None:
    for name, step in steps.items():
        command = reporter.commands[name]
        actual = json.loads(command[command.index(entrypoint.INVOCATION) + 1])
        expected = copy.deepcopy(step.executor_input)
        expected['outputs']['artifacts']['executor-logs']['artifacts'][0]['uri'] += '-0'
        assert actual == expected


def test_a_second_run_is_cached(captured: dict[str, dict], tmp_path: Path) -> None:
    spec = captured_pipeline.compiled(captured)
    cluster = Cluster(tmp_path, Reporter(captured_pipeline.reported(captured)))
    assert {step.state for step in cluster.submit((spec, {}), ROOT)} == {'COMPLETE'}
    assert {step.state for step in cluster.submit((spec, {}), ROOT)} == {'CACHED'}
