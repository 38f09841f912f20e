"""Builds an image for the pipeline's steps, for Beam workers or for the gateway.

`make image` calls `python -m scripts.images cpu`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.images import base
from scripts.images.engine import Engine, EngineError, engine, on_path, output_of

PROJECT = Path(__file__).resolve().parents[2]
# The images of an engine that is started here.
STORE = PROJECT / '.tools' / 'docker'
PULLED_BASE = 'python:3.11-slim-trixie'
TARGETS = ('cpu', 'gpu', 'beam', 'gateway')
_PULL_S = 120.0
# Including the build stages; a build of `beam` takes 8.0 GB.
_DISK_GB = {'cpu': 9, 'gpu': 24, 'beam': 10, 'gateway': 3}
# Images whose build has all stages of another one.
_CONTAINS = {'cpu': ('beam', 'gpu')}
_CERTIFICATES = ('SSL_CERT_FILE', 'PIP_CERT', 'REQUESTS_CA_BUNDLE')
# Setting of uv -> setting of pip, which installs uv.
_PIP_NAMES = {
    'UV_DEFAULT_INDEX': 'PIP_INDEX_URL',
    'UV_INDEX': 'PIP_EXTRA_INDEX_URL',
    'UV_INSECURE_HOST': 'PIP_TRUSTED_HOST',
}
_PROXIES = ('HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy')


def main(argv: Sequence[str] | None = None) -> int:
    """Builds an image; returns 0, or 1 after it has printed the reason."""
    parser = argparse.ArgumentParser(
        prog='python -m scripts.images', description='Builds the container images of the pipeline.'
    )
    parser.add_argument(
        'what',
        choices=[*TARGETS, 'base'],
        help='the image of all steps, with CUDA, of Beam workers, of the gateway, or only the base',
    )
    parser.add_argument('--tag', help='the name of the image (default: cxr-triage:cpu and so on)')
    parser.add_argument(
        '--base',
        help=(
            f'an image with Debian 13 and Python 3.11 (default: {PULLED_BASE} if it can be pulled, '
            'or else an image that is made here)'
        ),
    )
    args = parser.parse_args(argv)
    try:
        with engine(STORE) as docker:
            tag = args.tag or f'cxr-triage:{args.what}'
            base_image = args.base or (
                base.make(docker, PROJECT) if args.what == 'base' else default_base(docker)
            )
            if args.what != 'base':
                build(docker, args.what, tag, base_image)
                base_image = tag
            _log(
                f'{base_image} is ready'
                + (
                    f' ({docker.environment["DOCKER_HOST"]} while an engine runs there)'
                    if docker.own
                    else ''
                )
            )
    except (EngineError, base.BaseError) as error:
        _log(str(error))
        return 1
    except subprocess.CalledProcessError as error:
        _log(
            f'{shlex.join(map(str, error.cmd[:3]))} … failed (exit code {error.returncode}); its '
            'output is above'
        )
        return 1
    return 0


def build(docker: Engine, target: str, tag: str, base_image: str) -> None:
    """Builds a target of the Dockerfile.

    Raises:
      EngineError: there is not enough disk space.
      CalledProcessError: the build failed; its output has the reason.
    """
    built = (tag, *(f'cxr-triage:{name}' for name in _CONTAINS.get(target, ())))
    if docker.own and not any(map(docker.has, built)):
        _check_disk(target, tag)
    with tempfile.TemporaryDirectory(prefix='cxr-triage-secrets-') as name:
        options = [
            '--file',
            str(PROJECT / 'kubeflow' / 'Dockerfile'),
            '--target',
            target,
            '--tag',
            tag,
            '--build-arg',
            f'BASE_IMAGE={base_image}',
            *secrets(Path(name), os.environ),
        ]
        options += [
            option
            for proxy in _PROXIES
            if os.environ.get(proxy)
            for option in ('--build-arg', proxy)
        ]
        options += ['--network', 'host'] if docker.own else []
        _log(f'building {tag} on {base_image}')
        environment = {**docker.environment, 'DOCKER_BUILDKIT': '1'}
        command = [docker.docker, 'build', *options, '--progress', 'plain', str(PROJECT)]
        subprocess.run(command, env=environment, stdout=sys.stderr, check=True)


def _check_disk(target: str, tag: str) -> None:
    """Checks the free disk space, because a full disk affects everything on this machine."""
    existing = next(folder for folder in (STORE, *STORE.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < _DISK_GB[target]:
        raise EngineError(
            f'{tag} needs {_DISK_GB[target]} GB of disk to be built, and {existing} has '
            f'{free:.0f}: make room, or remove {STORE}'
        )


def secrets(folder: Path, env: Mapping[str, str]) -> list[str]:
    """Options that give the build the package indexes and certificates of pip and Go here.

    Args:
      folder: the folder for the files of the secrets.
      env: the environment variables.
    """
    settings = dict(
        line.split('=', 1)
        for line in output_of(str(PROJECT / 'scripts/with-uv'), 'env', '-0').split('\0')
        if '=' in line
    )
    certificates = next(
        (path for source in (env, settings) for path in map(source.get, _CERTIFICATES) if path),
        None,
    )
    index = {
        name: env.get(name) or settings.get(name)
        for name in ('UV_INDEX_STRATEGY', 'UV_HTTP_TIMEOUT', *_PIP_NAMES)
    }
    lines = [f'{name}={shlex.quote(value)}' for name, value in index.items() if value]
    lines += [
        f'{pip}={shlex.quote(value)}' for name, pip in _PIP_NAMES.items() if (value := index[name])
    ]
    # `go env` also has the settings of `go env -w`.
    modules = env.get('GOPROXY') or next(
        (output_of(go, 'env', 'GOPROXY') for go in on_path('go', env)), ''
    )
    lines += [f'GOPROXY={shlex.quote(modules)}'] if modules else []
    options = []
    if lines:
        (folder / 'index').write_text('\n'.join(lines) + '\n', encoding='utf-8')
        options += ['--secret', f'id=index,src={folder / "index"}']
    if certificates and Path(certificates).is_file():
        options += ['--secret', f'id=certificates,src={certificates}']
    return options


def default_base(docker: Engine) -> str:
    """Pulls the base image, or makes one if it cannot be pulled.

    Raises:
      BaseError: the image can be neither pulled nor made.
    """
    if docker.has(PULLED_BASE):
        return PULLED_BASE
    if not docker.has(base.TAG):
        try:
            if (
                docker.run(
                    'pull',
                    '--quiet',
                    PULLED_BASE,
                    check=False,
                    capture_output=True,
                    timeout=_PULL_S,
                ).returncode
                == 0
            ):
                return PULLED_BASE
        except subprocess.TimeoutExpired:
            pass
        _log(f'{PULLED_BASE} cannot be pulled: making a base image with debootstrap')
    return base.make(docker, PROJECT)


def _log(message: str) -> None:
    sys.stderr.write(f'images: {message}\n')
    sys.stderr.flush()


if __name__ == '__main__':
    sys.exit(main())
