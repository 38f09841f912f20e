"""`cxr-triage status`, `logs` and `cancel`, through kfp's own client, against a double of the API
server.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli import main as cli
from tests.support import submit_command as submitting
from tests.support.kfp_api_double import ApiDouble


def _pods(server: ApiDouble, run_id: str) -> dict[str, str]:
    """Step -> its newest pod, by the name that Kubernetes has for it."""
    pods = [
        node
        for node in server.runs[run_id].nodes()
        if node['type'] == 'Pod' and node['displayName'].startswith('executor')
    ]
    return {node['name'].split('.')[2].partition('(')[0]: node['pod'] for node in pods}


def test_a_server_that_is_away_for_a_while(
    here: Path, server: ApiDouble, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = submitting.submitted(server, here)
    answer, requests = server.answer, []

    def sometimes(*request):
        requests.append(request)
        server.unavailable = int(len(requests) % 5 == 0)
        return answer(*request)

    monkeypatch.setattr(server, 'answer', sometimes)
    assert cli.main(['status', run_id, '--follow', '--host', server.url]) == 0
    output = capsys.readouterr().out
    assert 'HTTP 503' in output and 'trying again' in output
    assert len(submitting.states(output)) == 12


def test_status_while_it_runs(
    here: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    run_id = submitting.submitted(server, here)
    monkeypatch.setenv('KF_PIPELINES_ENDPOINT', server.url)
    capsys.readouterr()
    assert cli.main(['status', run_id]) == 0
    output = capsys.readouterr().out
    states = submitting.states(output)
    assert sorted(states.values()) == [['running'], *[['waiting']] * 11]
    assert f'{server.url}/#/runs/details/{run_id}' in output
    # Without the older API there are states still.
    server.older_api = False
    assert cli.main(['status', run_id]) == 0
    assert ['done'] in submitting.states(capsys.readouterr().out).values()


@pytest.mark.parametrize('command', ['status', 'logs', 'cancel'])
def test_a_run_that_is_not_known(
    server: ApiDouble, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert cli.main([command, 'no-such-run', '--host', server.url]) == 1
    output = capsys.readouterr().err
    assert 'looking for run no-such-run' in output and 'Run no-such-run not found' in output


def test_logs(here: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    server.fails = {'Trainer'}
    run_id = submitting.submitted(server, here)
    server.multi_user = True
    where = ('--host', server.url, '--namespace', 'me')
    assert cli.main(['status', run_id, '--follow', *where]) == 1
    pods = _pods(server, run_id)
    server.logs = {pods['Trainer']: 'epoch 1\nout of memory\n', pods['DataGate']: '{"a": 1}'}
    capsys.readouterr()
    assert cli.main(['logs', run_id, *where]) == 0  # of the step that failed
    assert capsys.readouterr().out == 'epoch 1\nout of memory\n'
    assert cli.main(['logs', run_id, 'DataGate', *where]) == 0
    assert capsys.readouterr().out == '{"a": 1}\n'
    # The pod is gone and nothing archived: the server says "200 OK" and puts the error into the
    # text.
    assert cli.main(['logs', run_id, 'Transform', *where]) == 1
    output = capsys.readouterr()
    assert output.out == ''
    assert f'Failed to read logs from archive {pods["Transform"]}' in output.err
    assert (
        'one hour after the end of the run, unless set otherwise): kubectl logs -n kubeflow '
        f'{pods["Transform"]} -c main' in output.err
    )
    assert f'gs://bucket/runs/demo/{run_id}/Transform/…/executor-logs-0\n' in output.err
    assert cli.main(['logs', run_id, 'Pusher', *where]) == 1
    assert 'Pusher has no log: it never ran' in capsys.readouterr().err
    assert cli.main(['logs', run_id, 'Trainor', *where]) == 1
    assert "has no step 'Trainor'. Its steps:" in capsys.readouterr().err


def test_logs_where_kubeflow_serves_one_user(
    here: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submitting.submitted(server, here)
    run = server.runs[run_id]
    run.advance(set())
    run.advance = lambda fails: None  # it stays at work
    ((step, pod),) = _pods(server, run_id).items()
    server.logs = {pod: 'epoch 1\n'}
    capsys.readouterr()
    # Of a pod that runs the API server by itself has no log.
    assert cli.main(['logs', run_id, step, '--host', server.url]) == 1
    output = capsys.readouterr()
    assert output.out == ''
    assert 'Failed to read logs from archive' in output.err and 'svc/ml-pipeline-ui' in output.err
    assert f'kubectl describe pod -n kubeflow {pod}' in output.err
    # The user interface has it; its page is not taken for a log.
    server.interface = True
    assert cli.main(['logs', run_id, step, '--host', server.url]) == 0
    assert capsys.readouterr().out == 'epoch 1\n'
    server.logs = {}
    assert cli.main(['logs', run_id, step, '--host', server.url]) == 1
    assert capsys.readouterr().out == ''
    # Once it has ended, the API server has the archived one.
    server.interface, server.archived = False, {pod: 'epoch 1\nepoch 2\n'}
    run.states[step] = 'Failed'
    assert cli.main(['logs', run_id, '--host', server.url]) == 0
    assert capsys.readouterr().out == 'epoch 1\nepoch 2\n'


def test_a_root_driver_that_waits_or_fails_is_named(
    here: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = submitting.submitted(server, here)
    run, where = server.runs[run_id], ['--host', server.url]
    run.root_driver = ('Pending', 'ImagePullBackOff: Back-off pulling image "kfp-driver"')
    assert cli.main(['status', run_id, *where]) == 0
    output = capsys.readouterr().out
    assert re.search(r'running  root-driver .*ImagePullBackOff: Back-off pulling image', output)
    assert sorted(submitting.states(output).values()) == [['running'], *[['waiting']] * 12]
    assert cli.main(['logs', run_id, 'root-driver', *where]) == 1
    assert 'root-driver waits: ImagePullBackOff' in capsys.readouterr().err
    run.root_driver = ('Failed', 'main: Error (exit code 1)')
    (pod,) = (node['pod'] for node in run.nodes() if node['type'] == 'Pod')
    server.archived = {pod: 'metadata-grpc-service: connection refused\n'}
    assert cli.main(['status', run_id, '--follow', *where]) == 1
    output = capsys.readouterr().out
    assert (
        re.search(r'failed  root-driver .*exit code 1', output)
        and f'cxr-triage logs {run_id} root-driver' in output
    )
    assert cli.main(['logs', run_id, *where]) == 0
    assert capsys.readouterr().out == 'metadata-grpc-service: connection refused\n'


def test_cancel(here: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = submitting.submitted(server, here)
    for _ in range(2):
        assert cli.main(['status', run_id, '--host', server.url]) == 0
    capsys.readouterr()
    assert cli.main(['cancel', run_id, '--host', server.url]) == 0
    assert server.runs[run_id].stopped
    assert cli.main(['status', run_id, '--follow', '--host', server.url]) == 1
    output = capsys.readouterr().out
    assert 'canceled' in output
    # What was at work has not failed.
    assert sorted(submitting.states(output).values()) == [
        ['done'],
        *[['skipped']] * 10,
        ['stopped'],
    ]
    assert cli.main(['cancel', run_id, '--host', server.url]) == 1
    assert 'has already ended: canceled' in capsys.readouterr().err
