"""How the container images are built: the engine, the package index, and the locked packages."""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import re
import subprocess
import types
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from scripts.images import __main__ as build
from scripts.images import base
from scripts.images.engine import Engine, EngineError, client, engine
from tests.support.locked import locked

PROJECT = Path(__file__).resolve().parents[2]
IMAGE = ('3.11', '--no-default-groups')


def _tool(folder: Path, name: str, script: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\n{script}\n')
    path.chmod(0o755)
    return str(path)


def _docker(folder: Path, version: str, buildx: bool) -> str:
    answer = (
        'echo github.com/docker/buildx 0.13'
        if buildx
        else 'echo "docker: \'buildx\' is not a docker command" >&2; exit 1'
    )
    return _tool(
        folder,
        'docker',
        f'case "$1" in --version) echo "Docker version {version}, build x";; buildx) {answer};; '
        '*) exit 1;; esac',
    )


@pytest.mark.parametrize(
    ('version', 'buildx', 'suitable'),
    [('20.10.24', False, True), ('28.2.2', False, False), ('28.2.2', True, True)],
)
def test_a_client_needs_buildkit(
    tmp_path: Path, version: str, buildx: bool, suitable: bool
) -> None:
    first = _docker(tmp_path / 'one', version, buildx)
    second = _docker(tmp_path / 'two', '20.10.24', False)
    path = f'{tmp_path / "one"}:{tmp_path / "two"}'
    assert client({'PATH': path}) == (first if suitable else second)


def test_without_a_client_the_message_says_what_to_install(tmp_path: Path) -> None:
    docker = _docker(tmp_path / 'one', '28.2.2', False)
    with pytest.raises(EngineError, match=rf'docker\.io(.|\n)*{docker} has no BuildKit'):
        client({'PATH': str(tmp_path / 'one')})


def test_a_running_engine_is_used(tmp_path: Path) -> None:
    _tool(tmp_path, 'docker', 'echo "Docker version 20.10.1"')
    with engine(tmp_path / 'store', {'PATH': str(tmp_path)}) as running:
        assert not running.own
        assert running.has('anything')
    assert not (tmp_path / 'store').exists()


def test_without_an_engine_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _docker(tmp_path, '20.10.24', False)
    monkeypatch.setattr('shutil.which', lambda name: None)
    monkeypatch.setattr('os.access', lambda path, mode: not str(path).endswith('dockerd'))
    with (
        pytest.raises(
            EngineError, match='no container engine answers, and there is no dockerd to start'
        ),
        engine(tmp_path / 'store', {'PATH': str(tmp_path)}),
    ):
        pass


def test_the_log_of_an_engine_that_dies_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _docker(tmp_path, '20.10.24', False)
    daemon = _tool(tmp_path, 'dockerd', 'echo "no space left"; exit 1')
    monkeypatch.setattr('shutil.which', lambda name: daemon)
    monkeypatch.setattr('os.geteuid', lambda: 0)
    with (
        pytest.raises(EngineError, match=r'dockerd does not start(.|\n)*no space left'),
        engine(tmp_path / 'store', {'PATH': str(tmp_path)}),
    ):
        pass


def test_the_build_uses_the_index_that_pip_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = tmp_path / 'ca.crt'
    certificates.write_text('')
    env = {
        'PATH': os.environ['PATH'],
        'UV_DEFAULT_INDEX': 'https://index.example/simple?a=b c',
        'PIP_CERT': str(certificates),
    }
    options = build.secrets(tmp_path, env)
    assert f'id=certificates,src={certificates}' in options
    assert f'id=index,src={tmp_path / "index"}' in options
    result = subprocess.run(
        ['sh', '-c', f'. {tmp_path / "index"}; echo "$UV_DEFAULT_INDEX|$PIP_INDEX_URL"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == '|'.join([env['UV_DEFAULT_INDEX']] * 2)


@pytest.mark.parametrize(
    ('variables', 'expected'),
    [
        ({}, 'https://modules.example,direct'),
        ({'GOPROXY': 'https://other.example'}, 'https://other.example'),
    ],
)
def test_the_build_uses_the_module_proxy_that_go_uses(
    tmp_path: Path, variables: dict[str, str], expected: str
) -> None:
    _tool(
        tmp_path / 'bin', 'go', '[ "$*" = "env GOPROXY" ] && echo "https://modules.example,direct"'
    )
    build.secrets(tmp_path, {'PATH': f'{tmp_path / "bin"}:{os.environ["PATH"]}', **variables})
    result = subprocess.run(
        ['sh', '-c', f'. {tmp_path / "index"}; echo "$GOPROXY"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == expected


@pytest.mark.parametrize(('pulls', 'expected'), [(True, build.PULLED_BASE), (False, base.TAG)])
def test_a_base_image_that_cannot_be_pulled_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulls: bool, expected: str
) -> None:
    docker = _tool(
        tmp_path, 'docker', f'case "$1" in pull) exit {0 if pulls else 1};; *) exit 1;; esac'
    )
    monkeypatch.setattr('scripts.images.base.make', lambda engine, project: base.TAG)
    assert build.default_base(Engine(docker, {'PATH': str(tmp_path)})) == expected


def test_a_build_that_would_fill_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = _tool(
        tmp_path, 'docker', f'case "$1" in image) exit 1;; *) touch {tmp_path}/built;; esac'
    )
    monkeypatch.setattr('shutil.disk_usage', lambda path: types.SimpleNamespace(free=5e9))
    with pytest.raises(
        EngineError, match=r'cxr:1 needs 24 GB of disk to be built, and \S+ has 5: make room'
    ):
        build.build(Engine(docker, {'PATH': str(tmp_path)}, own=True), 'gpu', 'cxr:1', 'base:1')
    assert not (tmp_path / 'built').exists()


def test_an_image_that_is_part_of_another_one_needs_no_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = _tool(
        tmp_path,
        'docker',
        f'case "$*" in "image inspect cxr-triage:beam") ;; image*) exit 1;; '
        f'*) touch {tmp_path}/built;; esac',
    )
    monkeypatch.setattr('shutil.disk_usage', lambda path: types.SimpleNamespace(free=5e9))
    engine = Engine(docker, {'PATH': os.environ['PATH']}, own=True)
    build.build(engine, 'cpu', 'cxr:1', 'base:1')
    assert (tmp_path / 'built').exists()


@pytest.mark.parametrize('own', [True, False])
def test_the_arguments_of_a_build(tmp_path: Path, own: bool) -> None:
    docker = _tool(
        tmp_path,
        'docker',
        f'for argument in "$@"; do echo "$argument"; done >{tmp_path}/arguments; '
        f'echo $DOCKER_BUILDKIT >>{tmp_path}/arguments',
    )
    build.build(
        Engine(docker, {'PATH': os.environ['PATH']}, own), 'gpu', 'registry/cxr:1', 'base:1'
    )
    arguments = (tmp_path / 'arguments').read_text().splitlines()
    assert arguments[0] == 'build'
    assert arguments[-2:] == [str(PROJECT), '1']
    pairs = list(itertools.pairwise(arguments))
    for pair in (
        ('--target', 'gpu'),
        ('--tag', 'registry/cxr:1'),
        ('--build-arg', 'BASE_IMAGE=base:1'),
    ):
        assert pair in pairs
    # Our own engine has no network bridge, and the build needs a package index.
    assert (('--network', 'host') in pairs) is own


def test_every_target_is_in_the_dockerfile_and_needs_some_disk_space() -> None:
    dockerfile = (PROJECT / 'kubeflow' / 'Dockerfile').read_text()
    stages = re.findall(r'^FROM \S+ AS (\S+)$', dockerfile, re.MULTILINE)
    assert set(build.TARGETS) <= set(stages)
    assert set(build.TARGETS) == set(build._DISK_GB)


def test_no_image_runs_as_root() -> None:
    dockerfile = (PROJECT / 'kubeflow' / 'Dockerfile').read_text()
    sections = re.split(r'^FROM (\S+) AS (\S+)$', dockerfile, flags=re.MULTILINE)
    users: dict[str, str] = {}
    for base_image, stage, text in zip(sections[1::3], sections[2::3], sections[3::3], strict=True):
        own = re.findall(r'^USER (\S+)$', text, re.MULTILINE)
        users[stage] = own[-1] if own else users.get(base_image, 'root')
    assert {users[target] for target in build.TARGETS} == {'10001:10001'}


def test_with_index_passes_secrets_only_to_its_command(tmp_path: Path) -> None:
    script = (PROJECT / 'kubeflow' / 'image' / 'with_index').read_text()
    (tmp_path / 'secrets').mkdir()
    (tmp_path / 'secrets' / 'index').write_text("UV_DEFAULT_INDEX='https://index.example'\n")
    (tmp_path / 'secrets' / 'certificates').write_text('')
    tool = _tool(
        tmp_path / 'bin',
        'with_index',
        script.split('\n', 1)[1].replace('/run/secrets', str(tmp_path / 'secrets')),
    )
    environment = {'PATH': os.environ['PATH']}
    with_secrets = subprocess.run(
        [tool, 'env'], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert 'UV_DEFAULT_INDEX=https://index.example' in with_secrets
    assert f'PIP_CERT={tmp_path / "secrets" / "certificates"}' in with_secrets
    for path in (tmp_path / 'secrets').iterdir():
        path.unlink()
    assert (
        'UV_'
        not in subprocess.run(
            [tool, 'env'], env=environment, capture_output=True, text=True, check=True
        ).stdout
    )


def test_a_base_image_needs_debootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = _docker(tmp_path, '20.10.24', False)
    engine = Engine(docker, {'PATH': str(tmp_path)})
    monkeypatch.setattr('scripts.images.base.python_prefix', lambda project: tmp_path)
    monkeypatch.setattr('os.geteuid', lambda: 0)
    monkeypatch.setattr('shutil.which', lambda name: None)
    with pytest.raises(base.BaseError, match='debootstrap is not installed'):
        base.make(engine, PROJECT)
    monkeypatch.setattr('scripts.images.base.python_prefix', lambda project: None)
    with pytest.raises(base.BaseError, match=r'no Python 3\.11 for the image'):
        base.make(engine, PROJECT)


def test_the_images_have_the_versions_of_the_environment() -> None:
    image, current = locked(*IMAGE), locked('3.11')
    assert len(image) > 150
    assert image == {name: version for name, version in current.items() if name in image}
    assert not {'pytest', 'mypy', 'ruff', 'hypothesis'} & set(image)


def test_the_boot_program_of_workers_has_their_version_of_beam() -> None:
    version = locked(*IMAGE)['apache-beam']
    boot = PROJECT / 'kubeflow/image/boot'
    assert f'github.com/apache/beam/sdks/v2 v{version} ' in (boot / 'go.mod').read_text()
    assert f'github.com/apache/beam/sdks/v2 v{version} h1:' in (boot / 'go.sum').read_text()
    # The Dockerfile installs the compiler that Beam requires, so that Go fetches no other.
    required = re.search(r'^go (\d+\.\d+)', (boot / 'go.mod').read_text(), re.MULTILINE)
    assert required
    assert f' golang-{required[1]}-go ' in (PROJECT / 'kubeflow' / 'Dockerfile').read_text()


def test_the_cuda_packages_are_those_that_tensorflow_requires() -> None:
    # The Dockerfile takes NVIDIA's packages out of the group.
    group = locked('3.11', '--only-group', 'cuda')
    cuda = {name: version for name, version in group.items() if name.startswith('nvidia-')}
    assert group.items() - cuda.items() <= locked(*IMAGE).items()
    installed = importlib.metadata.version('tensorflow')
    if installed != group['tensorflow']:
        pytest.skip(
            f'the images have another TensorFlow than {installed}; this test needs the "current" '
            'environment'
        )
    requirements = [Requirement(text) for text in importlib.metadata.requires('tensorflow') or ()]
    extra = [
        requirement
        for requirement in requirements
        if requirement.marker
        and requirement.marker.evaluate({'extra': 'and-cuda'})
        and not requirement.marker.evaluate({'extra': ''})
    ]
    assert len(extra) > 5
    assert all(Version(cuda[requirement.name]) in requirement.specifier for requirement in extra)


def test_the_context_of_the_build_has_the_project_without_runs() -> None:
    included = {
        line[1:]
        for line in (PROJECT / '.dockerignore').read_text().splitlines()
        if line.startswith('!')
    }
    installed = importlib.metadata.distribution('cxr-triage').read_text('top_level.txt') or ''
    assert {name.removesuffix('.py') for name in included} >= set(installed.split())
    assert {'setup.py', 'pyproject.toml', 'uv.lock', 'scripts/uv.txt'} <= included
    assert {'kubeflow/image/boot', 'kubeflow/image/with_index'} <= included
    assert not {'runs', '.venv', '.tools', 'tests'} & included
