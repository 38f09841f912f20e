"""The shipped Kubernetes files, rendered and checked, and the problems of broken copies."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import main as cli
from scripts.manifests import __main__ as command
from scripts.manifests.objects import Objects
from scripts.manifests.render import RenderError, read_external, render
from serving.gateway import app
from serving.gateway.settings import Limits
from serving.releases import config_file

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / 'kubeflow/manifests'

pytestmark = pytest.mark.slow


def _rendered(overlay: str) -> Objects:
    return render(
        MANIFESTS / 'overlays' / overlay,
        Path(sys.executable).parent,
        read_external(MANIFESTS / 'external.yaml'),
    )


@pytest.fixture(scope='module')
def gke() -> Objects:
    return _rendered('gke')


@pytest.fixture(scope='module')
def service() -> Objects:
    return _rendered('service')


@pytest.fixture(scope='module')
def gke_service() -> Objects:
    return _rendered('gke-service')


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Returns a function that edits a file in a copy of kubeflow/manifests/ and checks the copy."""
    shutil.copytree(MANIFESTS, tmp_path / 'kubeflow/manifests')
    monkeypatch.chdir(tmp_path)

    def on_copy(
        file: str, old: str, new: str, folder: str = 'overlays/gke', *options: str
    ) -> tuple[int, str]:
        path = tmp_path / 'kubeflow/manifests' / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        code = command.main([*options, f'kubeflow/manifests/{folder}'])
        return code, capsys.readouterr().out

    return on_copy


@pytest.mark.long
def test_the_shipped_files_pass(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main([])
    output = capsys.readouterr().out
    assert (code, output.count('objects checked against Kubernetes')) == (0, 5), output


def test_filled_in_names_the_placeholders(run) -> None:
    code, output = run('external.yaml', '', '', 'overlays/gke', '--filled-in')
    assert code == 1
    lines = output.splitlines()[:-1]
    assert all(
        'is a placeholder: replace' in line and '(kubeflow/manifests/overlays/gke/' in line
        for line in lines
    )
    # Generated config maps have a digest in their names.
    assert sorted(re.sub(r'-\w{10}$', '', line.split(': ')[1]) for line in lines) == [
        *['ConfigMap cxr-triage-recurring-run'] * 4,
        'ConfigMap cxr-triage-serving',
        'CronJob cxr-triage-submit',
        'Deployment cxr-triage-serving',
        'ServiceAccount cxr-triage-serving',
        'ServiceAccount cxr-triage-submit',
    ]


def test_objects_have_the_name_of_their_file_but_no_annotation_of_it(
    gke: Objects,
) -> None:
    origins = {manifest.kind: manifest.origin for manifest in gke.manifests}
    assert origins['HorizontalPodAutoscaler'].endswith(
        '(kubeflow/manifests/base/serving/horizontalpodautoscaler.yaml)'
    )
    assert origins['PodMonitoring'].endswith('(kubeflow/manifests/overlays/gke/podmonitoring.yaml)')
    assert not any(
        'origin' in str(manifest.content['metadata'].get('annotations'))
        for manifest in gke.manifests
    )


def test_the_gke_overlay_uses_google_service_accounts_for_its_bucket(gke: Objects) -> None:
    (server,) = [pod for pod in gke.pods() if pod.manifest.kind == 'Deployment']
    assert [volume['name'] for volume in server.volumes()] == ['config', 'tmp']
    accounts = {
        item.name: item.content['metadata']['annotations'] for item in gke.of('ServiceAccount')
    }
    assert {name: list(value) for name, value in accounts.items()} == {
        'cxr-triage-serving': ['iam.gke.io/gcp-service-account'],
        'cxr-triage-submit': ['iam.gke.io/gcp-service-account'],
    }


def test_the_arguments_of_the_recurring_run_are_valid(gke: Objects) -> None:
    (job,) = [pod for pod in gke.pods() if pod.manifest.kind == 'CronJob']
    (container,) = job.containers()
    # The entry point of the image, which has no script `cxr-triage`.
    *program, name = container.command_line[:4]
    assert program == ['python', '-m', 'cxr_triage']
    arguments = [name, *container.command_line[4:]]
    args = cli.build_parser().parse_args(arguments)
    assert (args.command, args.spec, args.config) == (
        'submit',
        '/etc/cxr-triage/spec.yaml',
        '/etc/cxr-triage/config.yaml',
    )
    assert (args.host, args.root, args.experiment) == (
        '$(KFP_HOST)',
        '$(PIPELINE_ROOT)',
        '$(EXPERIMENT)',
    )
    assert (args.data_root, args.weights, args.push_dir) == (
        '$(DATA_ROOT)',
        '$(WEIGHTS)',
        '$(PUSH_DIR)',
    )
    external = gke.find_external('ConfigMap', 'cxr-triage-pipeline')
    assert external is not None and external.keys == ('spec.yaml', 'config.yaml')


def test_the_arguments_of_the_gateway_are_valid_and_fit_tf_serving(service: Objects) -> None:
    pods = {pod.manifest.name: pod for pod in service.pods()}
    gateway, serving = pods['cxr-triage-gateway'], pods['cxr-triage-serving']
    (container,) = gateway.containers()
    *program, command = container.command_line[:4]
    assert program == ['python', '-m', 'cxr_triage']
    args = cli.build_parser().parse_args([command, *container.command_line[4:]])
    assert (args.command, args.host, args.tokens) == ('serve', '0.0.0.0', 'on')
    assert gateway.exposes(args.port)
    # The addresses of TF Serving's pods, and a port that they expose.
    host, port = args.model_server.removeprefix('grpc://').split(':')
    target = service.find('Service', host, 'cxr-triage')
    assert target is not None and target.spec['clusterIP'] == 'None'
    assert target.spec['ports'][0]['port'] == int(port) and serving.exposes(int(port))
    assert service.selected({'matchLabels': target.spec['selector']}, 'cxr-triage') == [serving]
    # Both have the same versions and labels.
    folders = {mount['mountPath']: mount for mount in container.listed('volumeMounts')}
    assert {str(args.data), str(args.target), str(args.config_file.parent)} <= set(folders)
    assert not folders[str(args.data)].get('readOnly')
    config_maps = [
        volume['configMap']['name']
        for pod in (gateway, serving)
        for volume in pod.volumes()
        if 'configMap' in volume
    ]
    assert len(config_maps) == 2 and len(set(config_maps)) == 1
    config_map = service.find('ConfigMap', config_maps[0], 'cxr-triage')
    assert config_map is not None
    config = config_file.parse(config_map.content['data'][args.config_file.name])
    assert config_file.labels(config, args.model)['stable']


def test_the_gateway_is_probed_and_scraped_at_its_routes(service: Objects) -> None:
    (gateway,) = [pod for pod in service.pods() if pod.manifest.name == 'cxr-triage-gateway']
    (container,) = gateway.containers()
    paths = {
        container.content[probe]['httpGet']['path']
        for probe in ('startupProbe', 'readinessProbe', 'livenessProbe')
    }
    template = gateway.manifest.spec['template']['metadata']
    paths.add(template['annotations']['prometheus.io/path'])
    source = inspect.getsource(app)
    assert paths == set(re.findall(r"add_api_route\('([^']+)'", source))


def test_the_migration_runs_before_the_gateways_by_its_label(service: Objects) -> None:
    label = 'app.kubernetes.io/component'
    objects = {
        item.kind
        for item in service.manifests
        if item.content['metadata'].get('labels', {}).get(label) == 'migration'
    }
    assert objects == {'Job', 'ServiceAccount', 'NetworkPolicy'}
    (job,) = [pod for pod in service.pods() if pod.manifest.kind == 'Job']
    (container,) = job.containers()
    assert container.command_line[:2] == ['python', '-m']
    assert importlib.util.find_spec(container.command_line[2])
    (variable,) = container.listed('env')
    assert variable['name'] == 'CXR_DATABASE'
    assert variable['valueFrom']['secretKeyRef']['key'] == 'owner-url'


def test_on_gke_the_gateway_reads_the_bucket_and_writes_its_own_volume(
    gke_service: Objects,
) -> None:
    (gateway,) = [pod for pod in gke_service.pods() if pod.manifest.name == 'cxr-triage-gateway']
    volumes = {volume['name']: volume for volume in gateway.volumes()}
    (config,) = [
        item for item in gke_service.of('ConfigMap') if 'models.config' in item.content['data']
    ]
    served = config_file.parse(config.content['data']['models.config'])
    bucket, _, folder = (
        config_file.base_path(served, 'cxr_triage').removeprefix('gs://').partition('/')
    )
    models = volumes['models']['csi']
    assert models['readOnly'] and models['volumeAttributes']['bucketName'] == bucket
    assert f'only-dir={folder}' in models['volumeAttributes']['mountOptions'].split(',')
    assert 'persistentVolumeClaim' not in volumes['models']
    claim = gke_service.find(
        'PersistentVolumeClaim', volumes['data']['persistentVolumeClaim']['claimName'], 'cxr-triage'
    )
    assert claim is not None and claim.spec['accessModes'] == ['ReadWriteMany']
    # The load balancer waits longer than an upload may take.
    (backend,) = gke_service.of('BackendConfig')
    assert backend.spec['timeoutSec'] > Limits().request_s


# File, old text and new text; phrases of the problem's message.
BROKEN = {
    'an unknown field': (
        ('base/serving/deployment.yaml', 'enableServiceLinks', 'enableServiceLink'),
        [
            '(kubeflow/manifests/base/serving/deployment.yaml): Deployment cxr-triage-serving: '
            'spec.template.spec: ',
            "'enableServiceLink' was unexpected",
        ],
    ),
    'a value with another type': (
        ('base/serving/horizontalpodautoscaler.yaml', 'maxReplicas: 6', 'maxReplicas: "six"'),
        [
            '(kubeflow/manifests/base/serving/horizontalpodautoscaler.yaml): '
            'HorizontalPodAutoscaler '
            'cxr-triage-serving: spec.maxReplicas: ',
            "'six'",
        ],
    ),
    'an object of an unknown kind': (
        ('base/serving/poddisruptionbudget.yaml', 'policy/v1', 'policy/v7'),
        ['PodDisruptionBudget cxr-triage-serving: kind: ', 'policy/v7'],
    ),
    'a patch that removes what the base needs': (
        ('overlays/gke/networkpolicy.yaml', 'port: grpc', 'port: gprc'),
        [
            '(kubeflow/manifests/base/serving/networkpolicy.yaml): NetworkPolicy '
            'cxr-triage-serving: '
            'spec.ingress[0].ports[gprc]: ',
            'no container',
        ],
    ),
    'a label of a missing version': (
        ('overlays/gke/models.config', 'key: "stable" value: 1', 'key: "stable" value: 2'),
        [
            'Deployment cxr-triage-serving: '
            'spec.template.spec.containers[serving].args[--model_config_file]: ',
            "'stable' points to 2",
        ],
    ),
    'an image without its version': (
        (
            'base/kustomization.yaml',
            '{name: tensorflow/serving, newTag: 2.20.0}',
            '{name: tensorflow/serving, newTag: latest}',
        ),
        ["containers[serving].image: 'tensorflow/serving:latest'"],
    ),
}


@pytest.mark.parametrize('name', BROKEN)
def test_problems_of_broken_files(name: str, run) -> None:
    (file, old, new), phrases = BROKEN[name]
    code, output = run(file, old, new)
    message, summary = output.strip().splitlines()
    assert code == 1 and summary.startswith('kubeflow/manifests/overlays/gke: ')
    assert [phrase for phrase in phrases if phrase not in message] == [], message


def test_an_error_of_kubectl_is_shown(run) -> None:
    code, output = run(
        'overlays/gke/kustomization.yaml', 'podmonitoring.yaml', 'pod-monitoring.yaml'
    )
    assert code == 1
    assert (
        output.startswith('kubeflow/manifests/overlays/gke: kubectl kustomize: ')
        and 'pod-monitoring.yaml' in output
    )


def test_yaml_is_read_as_kubectl_writes_it(tmp_path: Path) -> None:
    (tmp_path / 'kustomization.yaml').write_text(
        'configMapGenerator: [{name: signs, literals: [equal==, yes=on, time=12:30]}]\n'
    )
    (signs,) = render(tmp_path, Path(sys.executable).parent).manifests
    assert signs.content['data'] == {'equal': '=', 'yes': 'on', 'time': '12:30'}


def test_a_folder_without_a_kustomization_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(tmp_path)]) == 1
    assert f'{tmp_path}: there is no kustomization.yaml' in capsys.readouterr().out


def test_external_entries_need_a_description(tmp_path: Path) -> None:
    path = tmp_path / 'external.yaml'
    path.write_text('- {kind: Secret, name: token}\n')
    with pytest.raises(RenderError, match='expected kind, name, what'):
        read_external(path)
