"""`cxr-triage status`, `logs` and `cancel` with kfp's client and a double of the API server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli import main as cli
from tests.support import submit_command as submitting
from tests.support.kfp_api_double import ApiDouble


def _pods(server: ApiDouble, run_id: str) -> dict[str, str]:
    """Returns the name of the newest pod of each step."""
    pods = [
        node
        for node in server.runs[run_id].nodes()
        if node['type'] == 'Pod' and node['displayName'].startswith('executor')
    ]
    return {node['name'].split('.')[2].partition('(')[0]: node['pod'] for node in pods}


def test_status_retries_while_the_server_is_unavailable(
    empty_volume: Path, server: ApiDouble, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = submitting.submitted(server, empty_volume)
    answer, requests = server.answer, []

    def answer_or_fail(*request):
        requests.append(request)
        server.unavailable = int(len(requests) % 5 == 0)
        return answer(*request)

    monkeypatch.setattr(server, 'answer', answer_or_fail)
    assert cli.main(['status', run_id, '--follow', '--host', server.url]) == 0
    output = capsys.readouterr().out
    assert 'HTTP 503' in output and 'trying again' in output
    assert len(submitting.states(output)) == 12


def test_status_of_a_running_run(
    empty_volume: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    run_id = submitting.submitted(server, empty_volume)
    monkeypatch.setenv('KF_PIPELINES_ENDPOINT', server.url)
    capsys.readouterr()
    assert cli.main(['status', run_id]) == 0
    output = capsys.readouterr().out
    states = submitting.states(output)
    assert sorted(states.values()) == [['running'], *[['waiting']] * 11]
    assert f'{server.url}/#/runs/details/{run_id}' in output
    # States do not need the older API.
    server.older_api = False
    assert cli.main(['status', run_id]) == 0
    assert ['done'] in submitting.states(capsys.readouterr().out).values()


@pytest.mark.parametrize('command', ['status', 'logs', 'cancel'])
def test_an_unknown_run_is_reported(
    server: ApiDouble, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert cli.main([command, 'no-such-run', '--host', server.url]) == 1
    output = capsys.readouterr().err
    assert 'looking for run no-such-run' in output and 'Run no-such-run not found' in output


def test_logs(empty_volume: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    server.fails = {'Trainer'}
    run_id = submitting.submitted(server, empty_volume)
    server.multi_user = True
    options = ('--host', server.url, '--namespace', 'me')
    assert cli.main(['status', run_id, '--follow', *options]) == 1
    pods = _pods(server, run_id)
    server.logs = {pods['Trainer']: 'epoch 1\nout of memory\n', pods['DataGate']: '{"a": 1}'}
    capsys.readouterr()
    assert cli.main(['logs', run_id, *options]) == 0  # of the failed step
    assert capsys.readouterr().out == 'epoch 1\nout of memory\n'
    assert cli.main(['logs', run_id, 'DataGate', *options]) == 0
    assert capsys.readouterr().out == '{"a": 1}\n'
    # Without the pod and an archived log, the server returns the error as text, with status 200.
    assert cli.main(['logs', run_id, 'Transform', *options]) == 1
    output = capsys.readouterr()
    assert output.out == ''
    assert f'Failed to read logs from archive {pods["Transform"]}' in output.err
    assert (
        'one hour after the end of the run, unless set otherwise): kubectl logs -n kubeflow '
        f'{pods["Transform"]} -c main' in output.err
    )
    assert f'gs://bucket/runs/demo/{run_id}/Transform/…/executor-logs-0\n' in output.err
    assert cli.main(['logs', run_id, 'Pusher', *options]) == 1
    assert 'Pusher has no log: it never ran' in capsys.readouterr().err
    assert cli.main(['logs', run_id, 'Trainor', *options]) == 1
    assert "has no step 'Trainor'. Its steps:" in capsys.readouterr().err


def test_logs_of_a_single_user_kubeflow(
    empty_volume: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submitting.submitted(server, empty_volume)
    run = server.runs[run_id]
    run.advance(set())
    run.advance = lambda fails: None  # the step keeps running
    ((step, pod),) = _pods(server, run_id).items()
    server.logs = {pod: 'epoch 1\n'}
    capsys.readouterr()
    # The API server does not have the log of a running pod.
    assert cli.main(['logs', run_id, step, '--host', server.url]) == 1
    output = capsys.readouterr()
    assert output.out == ''
    assert 'Failed to read logs from archive' in output.err and 'svc/ml-pipeline-ui' in output.err
    assert f'kubectl describe pod -n kubeflow {pod}' in output.err
    # The user interface has it. A page of the user interface is not taken for a log.
    server.interface = True
    assert cli.main(['logs', run_id, step, '--host', server.url]) == 0
    assert capsys.readouterr().out == 'epoch 1\n'
    server.logs = {}
    assert cli.main(['logs', run_id, step, '--host', server.url]) == 1
    assert capsys.readouterr().out == ''
    # After the end of the pod, the API server has the archived log.
    server.interface, server.archived = False, {pod: 'epoch 1\nepoch 2\n'}
    run.states[step] = 'Failed'
    assert cli.main(['logs', run_id, '--host', server.url]) == 0
    assert capsys.readouterr().out == 'epoch 1\nepoch 2\n'


def test_a_waiting_or_failed_root_driver_is_named(
    empty_volume: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submitting.submitted(server, empty_volume)
    run, options = server.runs[run_id], ['--host', server.url]
    run.root_driver = ('Pending', 'ImagePullBackOff: Back-off pulling image "kfp-driver"')
    assert cli.main(['status', run_id, *options]) == 0
    output = capsys.readouterr().out
    assert re.search(r'running  root-driver .*ImagePullBackOff: Back-off pulling image', output)
    assert sorted(submitting.states(output).values()) == [['running'], *[['waiting']] * 12]
    assert cli.main(['logs', run_id, 'root-driver', *options]) == 1
    assert 'root-driver waits: ImagePullBackOff' in capsys.readouterr().err
    run.root_driver = ('Failed', 'main: Error (exit code 1)')
    (pod,) = (node['pod'] for node in run.nodes() if node['type'] == 'Pod')
    server.archived = {pod: 'metadata-grpc-service: connection refused\n'}
    assert cli.main(['status', run_id, '--follow', *options]) == 1
    output = capsys.readouterr().out
    assert (
        re.search(r'failed  root-driver .*exit code 1', output)
        and f'cxr-triage logs {run_id} root-driver' in output
    )
    assert cli.main(['logs', run_id, *options]) == 0
    assert capsys.readouterr().out == 'metadata-grpc-service: connection refused\n'


def test_cancel(empty_volume: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = submitting.submitted(server, empty_volume)
    for _ in range(2):
        assert cli.main(['status', run_id, '--host', server.url]) == 0
    capsys.readouterr()
    assert cli.main(['cancel', run_id, '--host', server.url]) == 0
    assert server.runs[run_id].stopped
    assert cli.main(['status', run_id, '--follow', '--host', server.url]) == 1
    output = capsys.readouterr().out
    assert 'canceled' in output
    # The step that was running is stopped, not failed.
    assert sorted(submitting.states(output).values()) == [
        ['done'],
        *[['skipped']] * 10,
        ['stopped'],
    ]
    assert cli.main(['cancel', run_id, '--host', server.url]) == 1
    assert 'has already ended: canceled' in capsys.readouterr().err
