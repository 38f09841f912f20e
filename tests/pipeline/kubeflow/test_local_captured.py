"""What the interpreter gives to a step is what Kubeflow's own driver gave to it."""

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
    """In the place of each step: reports what the captured one did."""

    def __init__(self, reports: dict[str, dict[str, dict]]):
        self._reports = reports
        self.commands: dict[str, list[str]] = {}

    def run(self, pod: Pod) -> int:
        pod.log.write_text('')
        given = json.loads(pod.command[pod.command.index(entrypoint.INVOCATION) + 1])
        *_, step, _, _ = given['outputs']['outputFile'].split('/')
        self.commands[step] = pod.command
        mount = '/minio'
        path = pod.folders[mount] / given['outputs']['outputFile'][len(mount) + 1 :]
        told = {
            key: {'artifacts': [{'metadata': metadata}]}
            for key, metadata in self._reports.get(step, {}).items()
        }
        path.write_text(json.dumps({'artifacts': told}))
        return 0


@pytest.fixture(scope='module')
def reporter(captured: dict[str, dict]) -> Reporter:
    """Stands for all steps."""
    return Reporter(captured_pipeline.reported(captured))


@pytest.fixture(scope='module')
def steps(
    captured: dict[str, dict], reporter: Reporter, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Step]:
    """The steps of the captured pipeline, run with the captured run's id and paths."""
    spec = captured_pipeline.compiled(captured)
    driver.check(spec)
    places = {name: given['outputs']['outputFile'].split('/') for name, given in captured.items()}
    (number,) = {place[-4] for place in places.values()}
    order = driver.sequence(driver.waits_for(driver.Run(spec, number, ROOT, {}, '')))
    ids = iter([number, *(places[name][-2] for name in order)])
    cluster = Cluster(tmp_path_factory.mktemp('cluster'), reporter, new_id=lambda: next(ids))
    return {step.name: step for step in cluster.submit((spec, {}), ROOT)}


def _without_numbers(given: dict) -> tuple[dict, dict[str, str]]:
    """An executor input without the ids of its inputs, and these by the artifacts' URIs: ids are
    given in no fixed order.
    """
    given = copy.deepcopy(given)
    numbers = {}
    for entry in given['inputs'].get('artifacts', {}).values():
        for artifact in entry['artifacts']:
            numbers[artifact['uri']] = artifact.pop('name')
    return given, numbers


def test_every_captured_step_is_there(captured: dict[str, dict], steps: dict[str, Step]) -> None:
    assert set(steps) == set(captured)
    assert len(steps) == 9


@pytest.mark.parametrize(
    'name',
    [
        *('ImportExampleGen', 'ImportSchemaGen', 'StatisticsGen', 'SchemaGen', 'ExampleValidator'),
        *('Transform', 'Trainer', 'Evaluator', 'Pusher'),
    ],
)
def test_executor_input_is_the_captured_one(
    captured: dict[str, dict], steps: dict[str, Step], name: str
) -> None:
    ours, _ = _without_numbers(steps[name].executor_input)
    theirs, _ = _without_numbers(captured[name])
    assert ours == theirs


def test_artifacts_are_named_by_ids_as_the_captured_ones(
    captured: dict[str, dict], steps: dict[str, Step]
) -> None:
    pairs = set()
    for name, given in captured.items():
        _, theirs = _without_numbers(given)
        _, ours = _without_numbers(steps[name].executor_input)
        pairs |= {(theirs[uri], ours[uri]) for uri in theirs}
    assert len(pairs) == 7
    assert all(number.isdigit() for pair in pairs for number in pair)
    # One id of ours to one of theirs.
    assert len({theirs for theirs, _ in pairs}) == len({ours for _, ours in pairs}) == len(pairs)


def test_the_command_gets_it_with_the_attempt_in_the_log(
    steps: dict[str, Step], reporter: Reporter
) -> None:
    for name, step in steps.items():
        command = reporter.commands[name]
        got = json.loads(command[command.index(entrypoint.INVOCATION) + 1])
        expected = copy.deepcopy(step.executor_input)
        expected['outputs']['artifacts']['executor-logs']['artifacts'][0]['uri'] += '-0'
        assert got == expected


def test_a_second_run_is_cached_by_the_same_keys(captured: dict[str, dict], tmp_path: Path) -> None:
    spec = captured_pipeline.compiled(captured)
    cluster = Cluster(tmp_path, Reporter(captured_pipeline.reported(captured)))
    assert {step.state for step in cluster.submit((spec, {}), ROOT)} == {'COMPLETE'}
    assert {step.state for step in cluster.submit((spec, {}), ROOT)} == {'CACHED'}
