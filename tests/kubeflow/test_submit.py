"""`cxr-triage submit`, `status`, `logs` and `cancel`, through kfp's own client, against a double of the API server."""

from __future__ import annotations

import datetime
import io
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import api_double
import pytest
import yaml
from api_double import ApiDouble
from rich.console import Console

from components.pusher import push
from components.pusher.target import Manifest
from kubeflow import client, versions
from kubeflow.runs import Run, Step
from pipeline import cli, remote_display
from records.synth import write_dataset

Cli = Callable[..., int]


@pytest.fixture(scope='module')
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films and a push directory in a folder that stands for a mounted volume, and the demo compiled for them."""
    root = tmp_path_factory.mktemp('volume')
    write_dataset(root / 'films', count=10, seed=1, size=64)
    assert cli.main(['compile', *_given(root), '--image', 'registry/cxr-triage:1', '--out', str(root / 'demo.yaml')]) == 0
    return root


@pytest.fixture
def here(volume: Path, tmp_path: Path) -> Path:
    """The volume, with nothing served."""
    shutil.rmtree(volume / 'served', ignore_errors=True)
    (volume / 'served').mkdir()
    return volume


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiDouble]:
    """A double that is asked for progress without a pause."""
    monkeypatch.setattr(remote_display, 'INTERVAL_S', 0.0)
    monkeypatch.delenv('KF_PIPELINES_ENDPOINT', raising=False)
    # kfp remembers a namespace under HOME.
    monkeypatch.setattr('kfp.Client._LOCAL_KFP_CONTEXT', '/nowhere/context.json')
    with api_double.serve() as double:
        yield double


@pytest.fixture
def submit(here: Path, server: ApiDouble) -> Cli:
    """Submits the demo; further options are added, or override."""

    def run(*more: str, spec: Path | None = None) -> int:
        return cli.main(['submit', str(spec or here / 'demo.yaml'), *_given(here), '--host', server.url, *more])

    return run


def _given(volume: Path) -> list[str]:
    volumes = f'kubeflow.volumes=[{{claim: films, mount: {volume}}}]'
    given = ['--config', 'pipeline/configs/demo.yaml', '--data-root', str(volume / 'films'), '--root', 'gs://bucket/runs']
    return [*given, '--push-dir', str(volume / 'served'), '--set', volumes]


def _edited(volume: Path, tmp_path: Path, edit: Callable[[dict], object]) -> Path:
    """The compiled specification with something else in it."""
    documents = list(yaml.safe_load_all((volume / 'demo.yaml').read_text()))
    edit(documents[0])
    path = tmp_path / 'edited.yaml'
    path.write_text(yaml.safe_dump_all(documents))
    return path


def _push(server: ApiDouble, volume: Path) -> None:
    """What the Pusher of the last run would leave."""
    told = json.loads(list(server.runs.values())[-1].parameters['push'])
    model = volume / 'model'
    model.mkdir(exist_ok=True)
    (model / 'saved_model.pb').write_text('graph')

    def manifest(version: str, model_digest: str, files: dict) -> Manifest:
        known = {key: told[key] for key in ('pipeline_name', 'candidate_key', 'push_nonce')}
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        return Manifest(version=version, model_digest=model_digest, files=files, run_id='r', model_uri=str(model), pushed_at=now, **known)

    push.publish(str(model), told['target'], manifest)


def _states(told: str) -> dict[str, list[str]]:
    """Step -> its states, in the order in which they were told."""
    found: dict[str, list[str]] = {}
    for state, name in re.findall(r'^ *(done|cached|failed|running|skipped|stopped|waiting)  (\S+)', told, re.MULTILINE):
        found.setdefault(name, []).append(state)
    return found


def test_a_run_is_followed_to_its_end(submit: Cli, server: ApiDouble, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit('--wait', '--experiment', 'triage', '--run-name', 'the first') == 3
    said = capsys.readouterr()
    (run,) = server.runs.values()
    assert run.root == 'gs://bucket/runs'
    assert list(server.experiments.values()) == ['triage']
    states = _states(said.out)
    assert len(states) == 12
    assert all(each == ['running', 'done'] for each in states.values())
    assert re.search(r'done  Trainer +9 s', said.out)
    assert 'the first  succeeded' in said.out
    # Nobody pushed.
    assert f'Not blessed, not pushed to {here}/served' in said.out
    assert said.err == f'warning: this server is Kubeflow Pipelines 2.17.0: {versions.NO_RETRIES}\n'


def test_an_unchanged_one_comes_from_the_cache(submit: Cli, server: ApiDouble, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit('--wait') == 3
    _push(server, here)
    capsys.readouterr()
    assert submit('--wait') == 0
    said = capsys.readouterr().out
    assert all(states == ['cached'] for states in _states(said).values())
    assert f'Pushed to {here}/served' in said
    assert len(server.experiments) == 1


def test_new_films_run_and_are_told_by_the_fingerprint_alone(submit: Cli, server: ApiDouble, here: Path, capsys) -> None:
    assert submit('--wait') == 3
    capsys.readouterr()
    (film,) = (here / 'films').rglob('*.tfrec')
    before, times = film.read_bytes(), film.stat()
    film.write_bytes(before + before)
    try:
        assert submit('--wait') == 3
    finally:
        film.write_bytes(before)
        os.utime(film, ns=(times.st_atime_ns, times.st_mtime_ns))
    said = capsys.readouterr().out
    # The push is of another candidate, so its key is another too.
    assert 'changed since it was compiled: fingerprint, push' in said
    states = _states(said)
    assert states.pop('CuratedSchema') == ['cached'] and states.pop('Baseline') == ['cached']
    assert all(each == ['running', 'done'] for each in states.values())
    first, second = server.runs.values()
    assert first.handed['XrayExampleGen']['fingerprint'] != second.handed['XrayExampleGen']['fingerprint']


def test_settings_reach_their_steps_without_another_compilation(submit: Cli, server: ApiDouble, capsys) -> None:
    assert submit('--set', 'train.epochs=1', '--set', 'gate.max_quarantine=null', '--set', 'data.max_quarantine_share=0.5') == 1
    assert "unknown key 'gate.max_quarantine'" in capsys.readouterr().err
    thresholds = 'evaluation.thresholds=[{metric: auc, min: 0.9}]'
    settings = ('train.epochs=1', 'gate.anomaly_level=none', 'data.max_quarantine_share=0.5', thresholds)
    settings += ('kubeflow.service_account=films-reader',)
    assert submit(*(part for setting in settings for part in ('--set', setting)), '--wait') == 3
    (run,) = server.runs.values()
    assert json.loads(json.loads(run.handed['Trainer']['custom_config'])['parameters'])['train']['epochs'] == 1
    assert json.loads(run.handed['DataGate']['limits'])['anomaly_level'] == 'none'
    assert json.loads(run.handed['XrayExampleGen']['data'])['max_quarantine_share'] == 0.5
    assert '0.9' in run.handed['Evaluator']['eval_config']
    assert [body['service_account'] for body in server.bodies] == ['films-reader']
    assert 'changed since it was compiled: data, evaluation, limits, push, training' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('more', 'told'),
    [
        (('--set', 'audit.width=512'), r'DataAudit.inputs.parameters.parameters: .*600.*, and now .*512'),
        (('--image', 'registry/cxr-triage:2'), 'container.image: registry/cxr-triage:1, and now registry/cxr-triage:2'),
        (('--set', 'kubeflow.default.cpu=3'), 'container.resources.cpuLimit: 2.*, and now 3'),
        (('--set', 'pipeline=other'), 'pipelineInfo.name: demo, and now other'),
        (('--set', 'tuning.trials=2'), 'Tuner'),
        (('--push-dir', '{volume}/elsewhere'), r'Baseline\.inputs\.parameters\.target: .*/served, and now .*/elsewhere'),
    ],
    ids=['a step', 'image', 'resources', 'name', 'another graph', 'push directory'],
)
def test_what_asks_for_another_compilation(submit: Cli, server: ApiDouble, here, capsys, more: tuple[str, ...], told: str) -> None:
    assert submit(*(part.replace('{volume}', str(here)) for part in more)) == 1
    said = capsys.readouterr().err
    assert 'compile again' in said
    assert re.search(told, said), said
    assert not server.runs


@pytest.mark.parametrize(
    ('edit', 'told'),
    [
        (lambda spec: spec.update(schemaVersion='2.0.0'), 'Kubeflow takes 2.1.0 only'),
        (
            lambda spec: spec['root']['inputDefinitions']['parameters']['push'].pop('defaultValue'),
            "pipeline parameter 'push' has no default",
        ),
        (lambda spec: spec['root']['dag']['tasks'].update(a_b={}), "step 'a_b': Argo takes letters"),
    ],
    ids=['schema', 'parameter', 'name'],
)
def test_what_kubeflow_would_refuse_never_leaves(submit: Cli, server: ApiDouble, here, tmp_path, capsys, edit, told: str) -> None:
    assert submit(spec=_edited(here, tmp_path, edit)) == 1
    assert told in capsys.readouterr().err
    assert not server.requests


@pytest.mark.parametrize(
    ('more', 'told'),
    [
        (('--root', '/runs'), '/runs: no pipeline root that Kubeflow can write to'),
        (('--root', 'hdfs://x/runs'), 'hdfs://x/runs: no pipeline root'),
        (('--host', 'localhost:8888'), "'localhost:8888' is no address of an API server: give its URL with --host"),
        (('--recurring', '0 3 * *'), "--recurring '0 3 * *': expected minute"),
        (('--recurring', '0 3 * * *', '--wait'), 'a recurring run never ends'),
        (('--token-file', '/none'), '/none: cannot be read (No such file or directory)'),
        (('--ca-file', '/none'), '/none: no such file; --ca-file takes certificates'),
    ],
    ids=['local root', 'other store', 'no scheme', 'cron', 'wait for ever', 'token file', 'certificates'],
)
def test_a_command_line_that_cannot_be(submit: Cli, server: ApiDouble, capsys, more: tuple[str, ...], told: str) -> None:
    assert submit(*more) == 1
    assert told in capsys.readouterr().err
    assert not server.requests


def test_no_connection(submit: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{taken.getsockname()[1]}'
        assert submit('--host', url) == 1
    said = capsys.readouterr().err
    assert f'no connection to {url}' in said and 'refused' in said
    assert 'port-forward' in said
    assert 'Traceback' not in said


def test_who_may(submit: Cli, server: ApiDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.token = 'secret'
    assert submit() == 1
    assert 'does not know who asks (without a token)' in capsys.readouterr().err
    token = tmp_path / 'token'
    token.write_text('wrong\n')
    assert submit('--token-file', str(token)) == 1
    said = capsys.readouterr().err
    assert f'does not know who asks (as {token})' in said and 'wrong' not in said
    token.write_text('secret\n')
    assert submit('--token-file', str(token)) == 0
    server.allowed = False
    assert submit('--token-file', str(token)) == 1
    said = capsys.readouterr().err
    assert 'does not allow it: User is not authorized' in said and '--namespace' in said


def test_another_service_is_not_taken_for_kubeflow(submit: Cli, server: ApiDouble, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, 'answer', lambda *_: '<html>Sign in</html>')
    assert submit() == 1
    assert 'answers, but not as the API server of Kubeflow Pipelines does' in capsys.readouterr().err


def test_what_the_server_refuses_is_told_with_its_reason(here: Path, server: ApiDouble, tmp_path: Path) -> None:
    """Past the checks here: another version of the server may refuse more."""
    from kubeflow.server_errors import ServerError

    asked = client.Server(client.Connection(server.url))
    resolver = _edited(here, tmp_path, lambda spec: spec['deploymentSpec']['executors'].update(Baseline_executor={'resolver': {}}))
    with pytest.raises(ServerError, match=r'(?s)\(HTTP 500\).*non-importer executor not implemented\na step is of a kind') as error:
        asked.submit(str(resolver), 'gs://b/r', {}, 'e', 'n')
    assert '.go:' not in str(error.value)
    with pytest.raises(ServerError, match=r'(?s)\(HTTP 400\): parameter.s. provided are not required by pipeline: other\n.*compile again'):
        asked.submit(str(here / 'demo.yaml'), 'gs://b/r', {'other': '1'}, 'e', 'n')
    older = _edited(here, tmp_path, lambda spec: spec.update(schemaVersion='2.0.0'))
    with pytest.raises(ServerError, match=r'(?s)\(HTTP 500\): KFP only supports schema version 2\.1\.0.*cxr-triage compile'):
        asked.submit(str(older), 'gs://b/r', {}, 'e', 'n')
    without = _edited(here, tmp_path, lambda spec: spec['root']['inputDefinitions']['parameters']['push'].pop('defaultValue'))
    with pytest.raises(ServerError, match=r'(?s)\(HTTP 400\): parameter push is not optional.*compile again'):
        asked.submit(str(without), 'gs://b/r', {}, 'e', 'n')
    with pytest.raises(ServerError, match='submitting'):
        asked.submit(str(_edited(here, tmp_path, lambda spec: spec.update(unknown=1))), 'gs://b/r', {}, 'e', 'n')


def test_a_recurring_run_has_the_seconds_that_kubeflow_expects(submit: Cli, server: ApiDouble, capsys) -> None:
    assert submit('--recurring', '0 3 * * 1', '--set', 'train.epochs=1', '--set', 'kubeflow.service_account=films-reader') == 0
    (job,) = server.recurring.values()
    assert job['trigger']['cron_schedule']['cron'] == '0 0 3 * * 1'
    assert job['mode'] == 'ENABLE' and job['no_catchup'] is True
    assert job['service_account'] == 'films-reader'
    assert set(job['runtime_config']['parameters']) >= {'training', 'push'}
    assert job['runtime_config']['pipeline_root'] == 'gs://bucket/runs'
    assert 'files that are added later do not change the' in capsys.readouterr().out
    assert not server.runs


def test_a_failed_step_is_named_with_its_reason(submit: Cli, server: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    server.fails, server.version = {'DataGate'}, '2.16.0'
    assert submit('--wait') == 1
    said, warned = capsys.readouterr()
    assert not warned
    (run_id,) = server.runs
    assert re.search(r'failed  DataGate .*Error \(exit code 1\)', said)
    assert f'cxr-triage logs {run_id} DataGate' in said
    assert _states(said)['Trainer'] == ['skipped']
    assert cli.main(['status', run_id, '--host', server.url]) == 1
    assert _states(capsys.readouterr().out)['Trainer'] == ['skipped']


def test_a_server_that_is_away_for_a_while(submit: Cli, server: ApiDouble, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    assert submit() == 0
    (run_id,) = server.runs
    answer, asked = server.answer, []

    def sometimes(*request):
        asked.append(request)
        server.unavailable = int(len(asked) % 5 == 0)
        return answer(*request)

    monkeypatch.setattr(server, 'answer', sometimes)
    assert cli.main(['status', run_id, '--follow', '--host', server.url]) == 0
    said = capsys.readouterr().out
    assert 'HTTP 503' in said and 'trying again' in said
    assert len(_states(said)) == 12


@pytest.mark.parametrize(
    ('version', 'retries'), [('2.15.0', True), ('2.16.1', True), ('2.17.0', False), ('v2.18.0', False), ('3.0.0', False), ('master', True)]
)
def test_versions_that_try_a_failed_step_again(version: str, retries: bool) -> None:
    assert versions.retries_failed_steps(version) == retries


def test_a_terminal_shows_what_is_at_work() -> None:
    screen = io.StringIO()
    states = iter([[Step('Trainer', 'running', 1.0)], [Step('Trainer', 'running', 700.0)], [Step('Trainer', 'done', 730.0)]])
    told: list[str] = []

    def ask() -> Run:
        told.append(screen.getvalue())
        (step,) = next(states)
        return Run('r', 'n', 'SUCCEEDED' if step.state == 'done' else 'RUNNING', (step,))

    follower = remote_display.Follower(Console(file=screen, force_terminal=True, width=100))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(remote_display, 'INTERVAL_S', 0.6)  # longer than the display takes to be drawn anew
        assert follower.follow(ask).state == 'SUCCEEDED'
    assert 'Trainer' in told[-1] and 'done' not in told[-1]
    assert '730 s' in screen.getvalue()


def test_status_while_it_runs(submit: Cli, server: ApiDouble, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    assert submit() == 0
    (run_id,) = server.runs
    monkeypatch.setenv('KF_PIPELINES_ENDPOINT', server.url)
    capsys.readouterr()
    assert cli.main(['status', run_id]) == 0
    said = capsys.readouterr().out
    states = _states(said)
    assert sorted(states.values()) == [['running'], *[['waiting']] * 11]
    assert f'{server.url}/#/runs/details/{run_id}' in said
    # Without the older API there are states still.
    server.older_api = False
    assert cli.main(['status', run_id]) == 0
    assert ['done'] in _states(capsys.readouterr().out).values()


@pytest.mark.parametrize('command', ['status', 'logs', 'cancel'])
def test_a_run_that_is_not_known(server: ApiDouble, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert cli.main([command, 'no-such-run', '--host', server.url]) == 1
    said = capsys.readouterr().err
    assert 'looking for run no-such-run' in said and 'Run no-such-run not found' in said


def _submitted(server: ApiDouble, volume: Path) -> str:
    """A run of the compiled demo that kfp's client alone submits: what it would compile to now is not looked at."""
    return client.Server(client.Connection(server.url)).submit(str(volume / 'demo.yaml'), 'gs://bucket/runs', {}, 'e', 'n')


def _pods(server: ApiDouble, run_id: str) -> dict[str, str]:
    """Step -> its newest pod, by the name that Kubernetes has for it."""
    pods = [node for node in server.runs[run_id].nodes() if node['type'] == 'Pod' and node['displayName'].startswith('executor')]
    return {node['name'].split('.')[2].partition('(')[0]: node['pod'] for node in pods}


def test_logs(submit: Cli, server: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    server.fails = {'Trainer'}
    server.multi_user = True
    assert submit('--wait', '--namespace', 'me') == 1
    (run_id,) = server.runs
    pods = _pods(server, run_id)
    server.logs = {pods['Trainer']: 'epoch 1\nout of memory\n', pods['DataGate']: '{"a": 1}'}
    capsys.readouterr()
    where = ('--host', server.url, '--namespace', 'me')
    assert cli.main(['logs', run_id, *where]) == 0  # of the step that failed
    assert capsys.readouterr().out == 'epoch 1\nout of memory\n'
    assert cli.main(['logs', run_id, 'DataGate', *where]) == 0
    assert capsys.readouterr().out == '{"a": 1}\n'
    # The pod is gone and nothing archived: the server says "200 OK" and puts the error into the text.
    assert cli.main(['logs', run_id, 'Transform', *where]) == 1
    said = capsys.readouterr()
    assert said.out == ''
    assert f'Failed to read logs from archive {pods["Transform"]}' in said.err
    assert f'one hour after the end of the run, unless set otherwise): kubectl logs -n kubeflow {pods["Transform"]} -c main' in said.err
    assert f'gs://bucket/runs/demo/{run_id}/Transform/…/executor-logs-0\n' in said.err
    assert cli.main(['logs', run_id, 'Pusher', *where]) == 1
    assert 'Pusher has no log: it never ran' in capsys.readouterr().err
    assert cli.main(['logs', run_id, 'Trainor', *where]) == 1
    assert "has no step 'Trainor'. There are:" in capsys.readouterr().err


def test_logs_where_kubeflow_serves_one_user(here: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = _submitted(server, here)
    run = server.runs[run_id]
    run.advance(set())
    run.advance = lambda fails: None  # it stays at work
    ((step, pod),) = _pods(server, run_id).items()
    server.logs = {pod: 'epoch 1\n'}
    capsys.readouterr()
    # Of a pod that runs the API server by itself has no log.
    assert cli.main(['logs', run_id, step, '--host', server.url]) == 1
    said = capsys.readouterr()
    assert said.out == ''
    assert 'Failed to read logs from archive' in said.err and 'svc/ml-pipeline-ui' in said.err
    assert f'kubectl describe pod -n kubeflow {pod}' in said.err
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


def test_a_root_driver_that_waits_or_fails_is_named(here: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = _submitted(server, here)
    run, where = server.runs[run_id], ['--host', server.url]
    run.root_driver = ('Pending', 'ImagePullBackOff: Back-off pulling image "kfp-driver"')
    assert cli.main(['status', run_id, *where]) == 0
    said = capsys.readouterr().out
    assert re.search(r'running  root-driver .*ImagePullBackOff: Back-off pulling image', said)
    assert sorted(_states(said).values()) == [['running'], *[['waiting']] * 12]
    assert cli.main(['logs', run_id, 'root-driver', *where]) == 1
    assert 'root-driver waits: ImagePullBackOff' in capsys.readouterr().err
    run.root_driver = ('Failed', 'main: Error (exit code 1)')
    (pod,) = (node['pod'] for node in run.nodes() if node['type'] == 'Pod')
    server.archived = {pod: 'metadata-grpc-service: connection refused\n'}
    assert cli.main(['status', run_id, '--follow', *where]) == 1
    said = capsys.readouterr().out
    assert re.search(r'failed  root-driver .*exit code 1', said) and f'cxr-triage logs {run_id} root-driver' in said
    assert cli.main(['logs', run_id, *where]) == 0
    assert capsys.readouterr().out == 'metadata-grpc-service: connection refused\n'


def test_a_service_account_that_kubernetes_would_refuse(submit: Cli, server: ApiDouble, capsys) -> None:
    assert submit('--set', 'kubeflow.service_account=Films_Reader') == 1
    assert 'kubeflow.service_account' in capsys.readouterr().err
    assert not server.requests


_DEPLOY = Path(__file__).resolve().parents[2] / 'deploy'


def _cron_job_words() -> list[str]:
    """The command of the recurring run, with what the config map of the GKE overlay says in it."""
    values: dict[str, str] = {}
    for folder in ('base/recurring-run', 'overlays/gke'):
        generated = yaml.safe_load((_DEPLOY / folder / 'kustomization.yaml').read_text())['configMapGenerator']
        literals = [literal for each in generated if each['name'] == 'cxr-triage-recurring-run' for literal in each['literals']]
        values |= dict(literal.split('=', 1) for literal in literals)
    job = yaml.safe_load((_DEPLOY / 'base/recurring-run/cronjob.yaml').read_text())
    (container,) = job['spec']['jobTemplate']['spec']['template']['spec']['containers']
    sources = {each['name']: each['valueFrom']['configMapKeyRef']['key'] for each in container['env'] if 'valueFrom' in each}
    return [re.sub(r'\$\((\w+)\)', lambda name: values[sources[name[1]]], word) for word in container['args']]


@pytest.mark.parametrize(('file', 'bucket'), [('serving-on-kubernetes.md', 'BUCKET'), ('gke.md', '$BUCKET')])
def test_the_cron_job_is_given_what_the_documentation_compiles_with(file: str, bucket: str) -> None:
    text = (_DEPLOY.parent / 'docs' / file).read_text()
    documented = dict(re.findall(r'--(data-root|weights|root|push-dir) (gs://[^\s"]+)', text))
    given = dict(word[2:].split('=', 1) for word in _cron_job_words() if word.startswith('--'))
    assert documented == {key: given[key].replace('your-bucket', bucket) for key in documented}
    assert len(documented) == 4
    # And TF Serving reads where it pushes.
    assert f'base_path: "{given["push-dir"]}"' in (_DEPLOY / 'overlays/gke/models.config').read_text()


def test_the_cron_job_submits(here: Path, server: ApiDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The GPU's image is in the specification alone, as the documentation compiles it.
    config = yaml.safe_load(Path('pipeline/configs/demo.yaml').read_text())
    config['kubeflow'] = {'volumes': [{'claim': 'films', 'mount': str(here)}], 'steps': {'Trainer': {'accelerator': 'nvidia.com/gpu'}}}
    (tmp_path / 'config.yaml').write_text(yaml.safe_dump(config))
    places = {'/etc/cxr-triage': tmp_path, 'gs://your-bucket/nih': here / 'films', 'gs://your-bucket/serving': here / 'served'}
    words = [word for word in _cron_job_words() if not word.startswith('--weights')]  # the demo has none
    for place, folder in places.items():
        words = [word.replace(place, str(folder)) for word in words]
    experiment = [word for word in words if word.startswith(('--config', '--data-root', '--root', '--push-dir'))]
    images = ['--image', 'registry/cxr-triage:1', '--set', 'kubeflow.gpu_image=registry/cxr-triage:1-gpu']
    assert cli.main(['compile', *experiment, *images, '--out', str(tmp_path / 'spec.yaml')]) == 0
    assert cli.main([f'--host={server.url}' if word.startswith('--host') else word for word in words]) == 0, capsys.readouterr().err
    (run,) = server.runs.values()
    assert run.root == 'gs://your-bucket/runs'
    assert list(server.experiments.values()) == ['nih-triage']


def test_several_users_need_a_namespace(submit: Cli, server: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    server.multi_user = True
    assert submit() == 1
    said = capsys.readouterr().err
    assert 'empty namespace in multi-user mode' in said and 'name yours with --namespace' in said
    assert submit('--namespace', 'me') == 0


def test_cancel(here: Path, server: ApiDouble, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = _submitted(server, here)
    for _ in range(2):
        assert cli.main(['status', run_id, '--host', server.url]) == 0
    capsys.readouterr()
    assert cli.main(['cancel', run_id, '--host', server.url]) == 0
    assert server.runs[run_id].stopped
    assert cli.main(['status', run_id, '--follow', '--host', server.url]) == 1
    said = capsys.readouterr().out
    assert 'canceled' in said
    # What was at work has not failed.
    assert sorted(_states(said).values()) == [['done'], *[['skipped']] * 10, ['stopped']]
    assert cli.main(['cancel', run_id, '--host', server.url]) == 1
    assert 'has ended already: canceled' in capsys.readouterr().err


def test_an_interrupted_wait_leaves_the_run_alone(submit: Cli, server: ApiDouble, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(remote_display.time, 'sleep', interrupted)
    assert submit('--wait') == 130
    (run_id,) = server.runs
    assert f'The run goes on. cxr-triage status {run_id} --follow' in capsys.readouterr().out
    assert not server.runs[run_id].stopped
