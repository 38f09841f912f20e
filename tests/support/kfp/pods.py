"""Runs a command in a container, or in a process that sees its own /minio, /gcs and /s3."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

_PROJECT = Path(__file__).resolve().parents[3]


class PodError(Exception):
    """A command cannot start; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Pod:
    """A command and what it needs.

    Attributes:
      name: unique among running pods.
      image: the container image.
      command: program and arguments.
      folders: folder in the pod -> local folder.
      environment: variables to add to those of the image.
      memory_gb: the limit, None for no limit.
      gpus: how many it needs.
      log: the file for the command's output.
    """

    name: str
    image: str
    command: list[str]
    folders: Mapping[str, Path]
    environment: Mapping[str, str]
    memory_gb: float | None
    gpus: int
    log: Path


class PodRunner(Protocol):
    """Runs commands."""

    def run(self, pod: Pod) -> int:
        """Runs a command to its end and returns its exit code."""


class Containers:
    """Containers of an engine, with the rights that Kubeflow gives a pod and without a network."""

    def __init__(self, docker: str = 'docker', environment: Mapping[str, str] = os.environ):
        self._docker, self._environment = docker, dict(environment)

    def run(self, pod: Pod) -> int:
        """Runs the command in a container, which is gone when this returns or raises.

        Raises:
          PodError: there is no engine, or it could not start the container.
        """
        options = [
            '--network',
            'none',
            '--cap-drop',
            'ALL',
            '--security-opt',
            'no-new-privileges',
            '--pull',
            'never',
        ]
        options += [
            option
            for path, folder in pod.folders.items()
            for option in ('--volume', f'{folder}:{path}')
        ]
        options += [
            option
            for name, value in pod.environment.items()
            for option in ('--env', f'{name}={value}')
        ]
        options += ['--memory', f'{pod.memory_gb * 1e9:.0f}b'] if pod.memory_gb else []
        options += ['--gpus', str(pod.gpus)] if pod.gpus else []
        # The specification's command replaces the image's entry point, as in Kubernetes.
        command = [
            self._docker,
            'run',
            '--rm',
            '--name',
            pod.name,
            *options,
            '--entrypoint',
            '/bin/sh',
            pod.image,
        ]
        command += ['-c', f'{_UMASK} && exec "$0" "$@"', *pod.command]
        with pod.log.open('wb') as log:
            try:
                code = subprocess.run(
                    command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    check=False,
                ).returncode
            except FileNotFoundError:
                raise PodError(
                    f'{self._docker} is not installed: install Docker, or run the steps as '
                    'processes'
                ) from None
            except BaseException:
                subprocess.run(
                    [self._docker, 'kill', pod.name],
                    env=self._environment,
                    capture_output=True,
                    check=False,
                )
                raise
        # Docker's code for its own errors: no such image, no engine that answers.
        if code == 125:
            raise PodError(
                f'{self._docker} could not start a container of {pod.image}: '
                f'{_log_end(pod.log)}\n'
                'Is the engine running, and does the image exist (make image)?'
            )
        return code


# As Argo sets it (argoproj/argo-workflows, workflow/executor/osspecific/umask_linux.go).
_UMASK = 'umask 0'
# A mount namespace; the script _ENTER keeps the mounts inside it.
UNSHARE = (
    'unshare',
    '--mount',
    '--propagation',
    'unchanged',
    *(() if os.geteuid() == 0 else ('--user', '--map-root-user')),
)
# Mounts every folder of / and then those of the pod under another root; all mounts end with the
# process.
_ENTER = """
set -eu
root=$1 folders=$2 workdir=$3
shift 3
# In a chroot, / belongs to another system, which our mounts must not reach.
mount --make-rprivate / 2>/dev/null || if grep -q ' shared:' /proc/self/mountinfo; then
  echo 'mounts are shared with another system: processes cannot have their own folders' >&2
  exit 1
fi
mount -t tmpfs -o mode=755 none "$root"
for entry in /*; do
  if [ -L "$entry" ]; then
    cp -P "$entry" "$root$entry"
  elif [ -d "$entry" ] && [ "$entry" != /proc ]; then
    mkdir "$root$entry"
    mount --rbind "$entry" "$root$entry"
  fi
done
mkdir "$root/proc"
mount -t proc proc "$root/proc"
while IFS="$(printf '\\t')" read -r path folder; do
  mkdir -p "$root$path"
  mount --bind "$folder" "$root$path"
done <"$folders"
# Tells the caller that the command starts now.
rm "$folders"
exec chroot "$root" /bin/sh -c '@UMASK && cd "$0" && exec "$@"' "$workdir" "$@"
""".replace('@UMASK', _UMASK)


class Processes:
    """Processes of this environment and this working copy; the image does not matter."""

    def __init__(self, python: str = sys.executable):
        self._python = python

    def run(self, pod: Pod) -> int:
        """Runs the command with the pod's folders mounted; `python` is the chosen interpreter.

        Raises:
          PodError: the folders cannot be mounted.
        """
        root = pod.log.with_suffix('.root')
        root.mkdir(exist_ok=True)
        folders = pod.log.with_suffix('.folders')
        folders.write_text(
            ''.join(f'{path}\t{folder.resolve()}\n' for path, folder in pod.folders.items())
        )
        command = [self._python if pod.command[0] == 'python' else pod.command[0], *pod.command[1:]]
        options = ['--pid', '--fork', '--kill-child', '/bin/sh']
        enter = [
            *UNSHARE,
            *options,
            '-c',
            _ENTER,
            'enter',
            str(root),
            str(folders),
            str(_PROJECT),
            *command,
        ]
        # Only what an image has: a step must not depend on a variable of this shell.
        environment = {
            'PATH': os.pathsep.join(
                [str(Path(self._python).parent), '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin']
            ),
            'HOME': '/tmp',
        }
        environment |= {
            'PYTHONPATH': str(_PROJECT),
            'CUDA_VISIBLE_DEVICES': '',
            'TF_CPP_MIN_LOG_LEVEL': '1',
            **pod.environment,
        }
        with pod.log.open('wb') as log:
            try:
                code = subprocess.run(
                    enter,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    check=False,
                ).returncode
                started = not folders.exists()
            except FileNotFoundError:
                raise PodError(
                    'unshare is not installed (Debian, Ubuntu: the package util-linux)'
                ) from None
            finally:
                folders.unlink(missing_ok=True)
                root.rmdir()
        if not started:
            raise PodError(f'{pod.name} could not be started: {_log_end(pod.log)}')
        return code


def _log_end(log: Path) -> str:
    return ' '.join(log.read_text(encoding='utf-8', errors='replace').split())[-500:]


def image_user(docker: str, environment: Mapping[str, str], image: str) -> str:
    """The user that an image runs as.

    Raises:
      PodError: the engine does not have the image.
    """
    command = [docker, 'image', 'inspect', '--format', '{{json .Config.User}}', image]
    result = subprocess.run(
        command, env=dict(environment), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise PodError(
            f'{image} is not here: build it with `make image`, or pull it. {result.stderr.strip()}'
        )
    return json.loads(result.stdout)
