"""The pipeline from images to a pushed model, each step in a container as on Kubeflow.

The data root and the push directory are volumes. All other data go from step to step through an
object store, as declared artifacts. The containers have no network. The container image also
compiles the specification.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.pusher import target
from pipeline.kubeflow.validation import Spec
from pipeline.steps import REQUIRED
from records.synth import write_dataset
from scripts.images.engine import Engine
from tests.support.kfp.pods import Containers, Pod, image_user
from tests.support.kfp.runs import Cluster, RunError, Step, load
from tests.support.locked import locked

pytestmark = pytest.mark.slow

_PROJECT = Path(__file__).resolve().parents[2]
ROOT = 'minio://mlpipeline/runs'
# A copy of an image stops the run. A failed step is retried at once.
_SETTINGS = (
    'kubeflow.volumes=[{claim: images, mount: /data}, {claim: served, mount: /served}]',
    'kubeflow.retries={count: 1, wait_s: 1}',
    'gate.max_share={duplicate: 0}',
)


class RecordedContainers:
    """Runs containers and records their pods."""

    def __init__(self, containers: Containers):
        self._containers = containers
        self.pods: list[Pod] = []

    def run(self, pod: Pod) -> int:
        """Records and runs a pod."""
        self.pods.append(pod)
        return self._containers.run(pod)


@dataclasses.dataclass(frozen=True)
class Place:
    """A cluster and its volumes.

    Attributes:
      cluster: the interpreter.
      containers: what runs its pods.
      images: the volume with the data root.
      served: the volume with the push directory.
      compile: writes the specification again and loads it.
    """

    cluster: Cluster
    containers: RecordedContainers
    images: Path
    served: Path
    compile: Callable[[], tuple[Spec, Spec]]


@pytest.fixture(scope='module')
def place(docker: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """244 synthetic images, an empty push directory, an empty cluster."""
    folder = tmp_path_factory.mktemp('cluster')
    images, served, out = (folder / name for name in ('images', 'served', 'out'))
    write_dataset(images, count=244, seed=7)
    for volume in (served, out):
        volume.mkdir()
        volume.chmod(0o777)
    shutil.copy(_PROJECT / 'tests' / 'support' / 'small_run.yaml', out)

    def compile_spec() -> tuple[Spec, Spec]:
        mounts = [
            option
            for name in ('images:/data:ro', 'served:/served:ro', 'out:/out')
            for option in ('--volume', f'{folder}/{name}')
        ]
        settings = [option for setting in _SETTINGS for option in ('--set', setting)]
        command = [
            'compile',
            '--config',
            '/out/small_run.yaml',
            '--out',
            '/out/spec.yaml',
            '--image',
            image,
            '--root',
            ROOT,
        ]
        command += ['--data-root', '/data', '--push-dir', '/served', *settings]
        result = docker.run(
            'run',
            '--rm',
            '--network',
            'none',
            *mounts,
            image,
            *command,
            check=False,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return load(out / 'spec.yaml')

    containers = RecordedContainers(Containers(docker.docker, docker.environment))
    # Kubeflow 2.16 retries a failed step, 2.17 does not.
    cluster = Cluster(
        folder / 'cluster', containers, {'images': images, 'served': served}, version='2.16'
    )
    return Place(cluster, containers, images, served, compile_spec)


@pytest.fixture(scope='module')
def first(place: Place) -> tuple[tuple[Spec, Spec], list[Step]]:
    """The first specification and the steps of its run."""
    documents = place.compile()
    return documents, place.cluster.submit(
        documents,
        ROOT,
        on_step=lambda step: print(f'{step.name:18s}{step.seconds:7.1f} s'),  # noqa: T201
    )


def _served(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.mark.parametrize(('name', 'extra'), [('image', set()), ('beam_image', {'pip'})])
def test_the_image_has_the_locked_packages_and_a_user_other_than_root(
    docker: Engine, request: pytest.FixtureRequest, name: str, extra: set[str]
) -> None:
    image = request.getfixturevalue(name)
    user = image_user(docker.docker, docker.environment, image)
    assert re.fullmatch(r'[1-9]\d*:[1-9]\d*', user), (
        'Kubernetes cannot see from a name whether it is root'
    )
    listing = (
        'import importlib.metadata as m, json; print(json.dumps({d.metadata["Name"]: d.version '
        'for d in m.distributions()}))'
    )
    result = docker.run(
        'run',
        '--rm',
        '--network',
        'none',
        '--entrypoint',
        'python',
        image,
        '-c',
        listing,
        capture_output=True,
        text=True,
    )
    expected = locked('3.11', '--no-default-groups')

    def plain(versions: dict[str, str]) -> dict[str, str]:
        return {re.sub(r'[-_.]+', '-', name).lower(): version for name, version in versions.items()}

    installed = plain(json.loads(result.stdout))
    assert installed.keys() - expected.keys() == extra
    assert {package: installed[package] for package in installed.keys() - extra} == expected


# Beam's boot program builds the package of a job with the packages of the image.
@pytest.mark.parametrize(
    ('name', 'settings'), [('image', []), ('beam_image', ['PIP_NO_BUILD_ISOLATION=0'])]
)
def test_the_image_has_no_traces_of_its_build(
    docker: Engine, request: pytest.FixtureRequest, name: str, settings: list[str]
) -> None:
    image = request.getfixturevalue(name)
    places = '/run/secrets /etc/pip.conf /etc/uv /root/.cache /root/.config /build /tmp/go'
    script = (
        f'ls {places} 2>/dev/null; env | grep -E "^(UV|PIP|GO[A-Z]+)"; command -v gcc uv go; id -u'
    )
    run = ['run', '--rm', '--network', 'none', '--entrypoint', 'sh', image, '-c', script]
    output = docker.run(*run, capture_output=True, text=True).stdout
    assert output.split() == [*settings, '10001']
    history = docker.run(
        'history', '--no-trunc', '--format', '{{.CreatedBy}}', image, capture_output=True, text=True
    ).stdout
    assert not re.search(r'https?://', history)


def test_all_steps_run_and_push_a_model(place: Place, first) -> None:
    _, steps = first
    assert {step.name: step.state for step in steps} == dict.fromkeys(REQUIRED, 'COMPLETE')
    (version,) = (path for path in place.served.iterdir() if path.name.isdigit())
    assert target.verify(str(version)) == []
    assert (version / 'saved_model.pb').is_file()
    assert json.loads((version / 'manifest.json').read_text())['metrics']['auc'] >= 0.4
    # Pods start with umask 0. Everyone may read the pushed files, but only their owner may write.
    modes = {
        path.relative_to(place.served): path.stat().st_mode & 0o777
        for path in (place.served / version.name).rglob('*')
    }
    assert {mode & 0o022 for mode in modes.values()} == {0}, modes
    assert all(mode & 0o044 == 0o044 for mode in modes.values()), modes


def test_data_go_only_through_declared_artifacts(place: Place, first) -> None:
    _, steps = first
    declared = {artifact.uri for step in steps for artifact in step.outputs.values()}
    assert all(uri.startswith(f'{ROOT}/e2e/') for uri in declared)
    store = place.cluster.folder / 'store'
    objects = {
        f'{path.relative_to(store).parts[0]}://{"/".join(path.relative_to(store).parts[1:])}'
        for path in store.rglob('*')
        if path.is_file()
    }
    assert objects
    assert {
        name
        for name in objects
        if not any(name == uri or name.startswith(f'{uri}/') for uri in declared)
    } == set()
    # A pod sees its own scratch folders and the two volumes.
    for pod in place.containers.pods[: len(steps)]:
        own = {folder for path, folder in pod.folders.items() if path not in ('/data', '/served')}
        assert {pod.folders['/data'], pod.folders['/served']} == {place.images, place.served}
        assert all(
            pod.name.rpartition('-')[0].split('-')[2] in str(folder).lower() for folder in own
        )


def test_an_unchanged_run_is_cached_and_pushes_nothing(place: Place, first) -> None:
    before, pods = _served(place.served), len(place.containers.pods)
    again = place.compile()
    steps = place.cluster.submit(again, ROOT)
    assert {step.name: step.state for step in steps} == dict.fromkeys(REQUIRED, 'CACHED')
    assert _served(place.served) == before
    assert len(place.containers.pods) == pods


def test_a_new_file_reruns_ingestion_and_a_failed_step_stops_the_run(place: Place, first) -> None:
    documents, _ = first
    before, pods = _served(place.served), len(place.containers.pods)
    record_file = next(iter(sorted(place.images.rglob('*.tfrec'))))
    copy = record_file.with_name(f'900-{record_file.name.split("-")[1]}')
    shutil.copy(record_file, copy)
    try:
        # Kubeflow's cache does not look into the volume: the old specification stays cached.
        assert {step.state for step in place.cluster.submit(documents, ROOT)} == {'CACHED'}
        with pytest.raises(RunError) as failed:
            place.cluster.submit(place.compile(), ROOT)
    finally:
        copy.unlink()
    states = {step.name: step.state for step in failed.value.steps}
    assert states.pop('CuratedSchema') == 'CACHED'
    assert states.pop('DataGate') == 'FAILED'
    assert set(states) == {
        'Baseline',
        'DataAudit',
        'ExampleValidator',
        'StatisticsGen',
        'XrayExampleGen',
    }
    assert set(states.values()) == {'COMPLETE'}
    # The step ran twice, and the log says why it failed.
    assert [pod.name.split('-')[2] for pod in place.containers.pods[pods:]].count('datagate') == 2
    assert 'step DataGate failed after 2 attempts' in str(failed.value)
    assert 'duplicate' in str(failed.value)
    assert _served(place.served) == before
