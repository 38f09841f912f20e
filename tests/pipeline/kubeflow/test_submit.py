"""`cxr-triage submit` with kfp's client and a double of the API server."""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cli import main as cli
from cli import server_options
from components.pusher import push
from components.pusher.target import Manifest
from pipeline.kubeflow import client, versions
from pipeline.kubeflow import display as remote_display
from tests.support import submit_command as submitting
from tests.support.kfp_api_double import ApiDouble
from tests.support.submit_command import Cli


def _edited(volume: Path, tmp_path: Path, edit: Callable[[dict], object]) -> Path:
    """Writes an edited copy of the compiled specification."""
    documents = list(yaml.safe_load_all((volume / 'demo.yaml').read_text()))
    edit(documents[0])
    path = tmp_path / 'edited.yaml'
    path.write_text(yaml.safe_dump_all(documents))
    return path


def _push(server: ApiDouble, volume: Path) -> None:
    """Pushes a model as the Pusher of the last run does."""
    push_parameters = json.loads(list(server.runs.values())[-1].parameters['push'])
    model = volume / 'model'
    model.mkdir(exist_ok=True)
    (model / 'saved_model.pb').write_text('graph')

    def manifest(version: str, model_digest: str, files: dict) -> Manifest:
        ids = {
            key: push_parameters[key] for key in ('pipeline_name', 'candidate_key', 'push_nonce')
        }
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        return Manifest(
            version=version,
            model_digest=model_digest,
            files=files,
            run_id='r',
            model_uri=str(model),
            pushed_at=now,
            **ids,
        )

    push.publish(str(model), push_parameters['target'], manifest)


def test_wait_follows_the_run_to_its_end(
    submit: Cli, server: ApiDouble, empty_volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ('--experiment', 'triage', '--name', 'the first', '--note', 'half the rate')
    assert submit('--wait', *options) == 3
    output = capsys.readouterr()
    (run,) = server.runs.values()
    assert run.root == 'gs://bucket/runs'
    assert [body['description'] for body in server.bodies] == ['half the rate']
    assert list(server.experiments.values()) == ['triage']
    states = submitting.states(output.out)
    assert len(states) == 12
    assert all(history == ['running', 'done'] for history in states.values())
    assert re.search(r'done  Trainer +9 s', output.out)
    assert 'the first  succeeded' in output.out
    # The double pushes no model.
    assert f'Not blessed, not pushed to {empty_volume}/served' in output.out
    assert (
        output.err == f'warning: this server is Kubeflow Pipelines 2.17.0: {versions.NO_RETRIES}\n'
    )


def test_an_unchanged_run_is_cached(
    submit: Cli, server: ApiDouble, empty_volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit('--wait') == 3
    _push(server, empty_volume)
    capsys.readouterr()
    assert submit('--wait') == 0
    output = capsys.readouterr().out
    assert all(states == ['cached'] for states in submitting.states(output).values())
    (version,) = (empty_volume / 'served').glob('[0-9]*')
    assert f'Nothing to push: {version} is this model already.' in output
    assert len(server.experiments) == 1


def test_a_run_that_pushes_is_reported_as_pushed(
    submit: Cli,
    server: ApiDouble,
    empty_volume: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    follow = server_options.follow

    def follow_and_push(*arguments, **keywords):
        run = follow(*arguments, **keywords)
        _push(server, empty_volume)
        return run

    monkeypatch.setattr(server_options, 'follow', follow_and_push)
    assert submit('--wait') == 0
    assert f'Pushed to {empty_volume}/served. Research use only' in capsys.readouterr().out


def test_new_images_change_the_fingerprint(
    submit: Cli, server: ApiDouble, empty_volume: Path, capsys
) -> None:
    assert submit('--wait') == 3
    capsys.readouterr()
    (records,) = (empty_volume / 'data').rglob('*.tfrec')
    content, times = records.read_bytes(), records.stat()
    records.write_bytes(content + content)
    try:
        assert submit('--wait') == 3
    finally:
        records.write_bytes(content)
        os.utime(records, ns=(times.st_atime_ns, times.st_mtime_ns))
    output = capsys.readouterr().out
    # The data change the candidate, and with it the key of the push.
    assert 'changed since it was compiled: fingerprint, push' in output
    states = submitting.states(output)
    assert states.pop('CuratedSchema') == ['cached'] and states.pop('Baseline') == ['cached']
    assert all(history == ['running', 'done'] for history in states.values())
    first, second = server.runs.values()
    assert (
        first.handed['XrayExampleGen']['fingerprint']
        != second.handed['XrayExampleGen']['fingerprint']
    )


def test_settings_reach_their_steps_without_a_new_compilation(
    submit: Cli, server: ApiDouble, capsys
) -> None:
    assert (
        submit(
            '--set',
            'train.epochs=1',
            '--set',
            'gate.max_quarantine=null',
            '--set',
            'data.max_quarantine_share=0.5',
        )
        == 1
    )
    assert "unknown key 'gate.max_quarantine'" in capsys.readouterr().err
    thresholds = 'evaluation.thresholds=[{metric: auc, min: 0.9}]'
    settings = (
        'train.epochs=1',
        'gate.anomaly_level=none',
        'data.max_quarantine_share=0.5',
        thresholds,
    )
    settings += ('kubeflow.service_account=data-reader',)
    assert submit(*(part for setting in settings for part in ('--set', setting)), '--wait') == 3
    (run,) = server.runs.values()
    assert (
        json.loads(json.loads(run.handed['Trainer']['custom_config'])['parameters'])['train'][
            'epochs'
        ]
        == 1
    )
    assert json.loads(run.handed['DataGate']['limits'])['anomaly_level'] == 'none'
    assert json.loads(run.handed['XrayExampleGen']['data'])['max_quarantine_share'] == 0.5
    assert '0.9' in run.handed['Evaluator']['eval_config']
    assert [body['service_account'] for body in server.bodies] == ['data-reader']
    assert (
        'changed since it was compiled: data, evaluation, limits, push, training'
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ('--set', 'audit.width=512'),
            r'DataAudit.inputs.parameters.parameters: .*600.*, and now .*512',
        ),
        (
            ('--image', 'registry/cxr-triage:2'),
            'container.image: registry/cxr-triage:1, and now registry/cxr-triage:2',
        ),
        (('--set', 'kubeflow.default.cpu=3'), 'container.resources.cpuLimit: 2.*, and now 3'),
        (('--set', 'pipeline=other'), 'pipelineInfo.name: demo, and now other'),
        (('--set', 'tuning.trials=2'), 'Tuner'),
        (
            ('--push-dir', '{volume}/other'),
            r'Baseline\.inputs\.parameters\.target: .*/served, and now .*/other',
        ),
    ],
    ids=['a step', 'image', 'resources', 'name', 'another graph', 'push directory'],
)
def test_changes_that_require_a_new_compilation(
    submit: Cli, server: ApiDouble, empty_volume, capsys, options: tuple[str, ...], message: str
) -> None:
    assert submit(*(part.replace('{volume}', str(empty_volume)) for part in options)) == 1
    output = capsys.readouterr().err
    assert 'compile again' in output
    assert re.search(message, output), output
    assert not server.runs


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (lambda spec: spec.update(schemaVersion='2.0.0'), 'Kubeflow accepts only 2.1.0'),
        (
            lambda spec: spec['root']['inputDefinitions']['parameters']['push'].pop('defaultValue'),
            "pipeline parameter 'push' has no default",
        ),
        (
            lambda spec: spec['root']['dag']['tasks'].update(a_b={}),
            "step 'a_b': Argo accepts only letters",
        ),
    ],
    ids=['schema', 'parameter', 'name'],
)
def test_an_invalid_specification_is_not_submitted(
    submit: Cli, server: ApiDouble, empty_volume, tmp_path, capsys, edit, message: str
) -> None:
    assert submit(spec=_edited(empty_volume, tmp_path, edit)) == 1
    assert message in capsys.readouterr().err
    assert not server.requests


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--root', '/runs'), '/runs: Kubeflow cannot write to this pipeline root'),
        (('--root', 'hdfs://x/runs'), 'hdfs://x/runs: Kubeflow cannot write to this pipeline root'),
        (
            ('--host', 'localhost:8888'),
            "'localhost:8888' is not the address of an API server: give its URL with --host",
        ),
        (('--recurring', '0 3 * *'), "--recurring '0 3 * *': expected minute"),
        (('--recurring', '0 3 * * *', '--wait'), 'a recurring run never ends'),
        (('--token-file', '/none'), '/none: cannot be read (No such file or directory)'),
        (('--ca-file', '/none'), '/none: no such file; --ca-file needs certificates'),
    ],
    ids=[
        'local root',
        'other store',
        'no scheme',
        'cron',
        'wait for a recurring run',
        'token file',
        'certificates',
    ],
)
def test_an_invalid_option_is_reported(
    submit: Cli, server: ApiDouble, capsys, options: tuple[str, ...], message: str
) -> None:
    assert submit(*options) == 1
    assert message in capsys.readouterr().err
    assert not server.requests


def test_a_refused_connection_is_reported(submit: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound:  # bound, but not listening
        bound.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{bound.getsockname()[1]}'
        assert submit('--host', url) == 1
    output = capsys.readouterr().err
    assert f'no connection to {url}' in output and 'refused' in output
    assert 'port-forward' in output
    assert 'Traceback' not in output


def test_missing_credentials_and_rights_are_reported(
    submit: Cli, server: ApiDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.token = 'secret'
    assert submit() == 1
    assert 'does not accept the login (without a token)' in capsys.readouterr().err
    token = tmp_path / 'token'
    token.write_text('wrong\n')
    assert submit('--token-file', str(token)) == 1
    output = capsys.readouterr().err
    assert f'does not accept the login (as {token})' in output and 'wrong' not in output
    token.write_text('secret\n')
    assert submit('--token-file', str(token)) == 0
    server.allowed = False
    assert submit('--token-file', str(token)) == 1
    output = capsys.readouterr().err
    assert 'does not allow this: User is not authorized' in output and '--namespace' in output


def test_another_service_at_the_address_is_reported(
    submit: Cli, server: ApiDouble, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, 'answer', lambda *_: '<html>Sign in</html>')
    assert submit() == 1
    assert 'answers, but it is not an API server of Kubeflow Pipelines' in capsys.readouterr().err


def test_errors_of_the_server_are_explained(
    empty_volume: Path, server: ApiDouble, tmp_path: Path
) -> None:
    """Without our checks: another version of the server can reject more than they do."""
    from pipeline.kubeflow.server_errors import ServerError

    api = client.Server(client.Connection(server.url))
    resolver = _edited(
        empty_volume,
        tmp_path,
        lambda spec: spec['deploymentSpec']['executors'].update(Baseline_executor={'resolver': {}}),
    )
    with pytest.raises(
        ServerError,
        match=r'(?s)\(HTTP 500\).*non-importer executor not implemented\nKubeflow cannot run',
    ) as error:
        api.submit(str(resolver), 'gs://b/r', {}, 'e', 'n')
    assert '.go:' not in str(error.value)
    with pytest.raises(
        ServerError,
        match=(
            r'(?s)\(HTTP 400\): parameter.s. provided are not required by pipeline: '
            r'other\n.*compile again'
        ),
    ):
        api.submit(str(empty_volume / 'demo.yaml'), 'gs://b/r', {'other': '1'}, 'e', 'n')
    older = _edited(empty_volume, tmp_path, lambda spec: spec.update(schemaVersion='2.0.0'))
    with pytest.raises(
        ServerError,
        match=r'(?s)\(HTTP 500\): KFP only supports schema version 2\.1\.0.*cxr-triage compile',
    ):
        api.submit(str(older), 'gs://b/r', {}, 'e', 'n')
    no_default = _edited(
        empty_volume,
        tmp_path,
        lambda spec: spec['root']['inputDefinitions']['parameters']['push'].pop('defaultValue'),
    )
    with pytest.raises(
        ServerError, match=r'(?s)\(HTTP 400\): parameter push is not optional.*compile again'
    ):
        api.submit(str(no_default), 'gs://b/r', {}, 'e', 'n')
    with pytest.raises(ServerError, match='submitting'):
        api.submit(
            str(_edited(empty_volume, tmp_path, lambda spec: spec.update(unknown=1))),
            'gs://b/r',
            {},
            'e',
            'n',
        )


def test_a_recurring_run_has_a_schedule_with_seconds(
    submit: Cli, server: ApiDouble, capsys
) -> None:
    assert (
        submit(
            '--recurring',
            '0 3 * * 1',
            '--set',
            'train.epochs=1',
            '--set',
            'kubeflow.service_account=data-reader',
        )
        == 0
    )
    (job,) = server.recurring.values()
    assert job['trigger']['cron_schedule']['cron'] == '0 0 3 * * 1'
    assert job['mode'] == 'ENABLE' and job['no_catchup'] is True
    assert job['service_account'] == 'data-reader'
    assert set(job['runtime_config']['parameters']) >= {'training', 'push'}
    assert job['runtime_config']['pipeline_root'] == 'gs://bucket/runs'
    assert 'Files that are added later do not change the' in capsys.readouterr().out
    assert not server.runs


def test_a_failed_step_is_reported_with_its_reason(
    submit: Cli, server: ApiDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fails, server.version = {'DataGate'}, '2.16.0'
    assert submit('--wait') == 1
    output, warning = capsys.readouterr()
    assert not warning
    (run_id,) = server.runs
    assert re.search(r'failed  DataGate .*Error \(exit code 1\)', output)
    assert f'cxr-triage logs {run_id} DataGate' in output
    assert submitting.states(output)['Trainer'] == ['skipped']
    assert cli.main(['status', run_id, '--host', server.url]) == 1
    assert submitting.states(capsys.readouterr().out)['Trainer'] == ['skipped']


@pytest.mark.parametrize(
    ('version', 'retries'),
    [
        ('2.15.0', True),
        ('2.16.1', True),
        ('2.17.0', False),
        ('v2.18.0', False),
        ('3.0.0', False),
        ('master', True),
    ],
)
def test_versions_that_retry_failed_steps(version: str, retries: bool) -> None:
    assert versions.retries_failed_steps(version) == retries


def test_an_invalid_service_account_is_rejected(submit: Cli, server: ApiDouble, capsys) -> None:
    assert submit('--set', 'kubeflow.service_account=Films_Reader') == 1
    assert 'kubeflow.service_account' in capsys.readouterr().err
    assert not server.requests


def test_a_multi_user_server_requires_a_namespace(
    submit: Cli, server: ApiDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    server.multi_user = True
    assert submit() == 1
    output = capsys.readouterr().err
    assert (
        'empty namespace in multi-user mode' in output
        and 'give your namespace with --namespace' in output
    )
    assert submit('--namespace', 'me') == 0


def test_the_run_continues_after_an_interrupted_wait(
    submit: Cli, server: ApiDouble, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(remote_display.time, 'sleep', interrupt)
    assert submit('--wait') == 130
    (run_id,) = server.runs
    assert f'The run goes on. cxr-triage status {run_id} --follow' in capsys.readouterr().out
    assert not server.runs[run_id].stopped
