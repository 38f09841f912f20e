"""A command in a container of its image, or in a process of this environment that sees its own
/minio, /gcs and /s3.
"""

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
    """A command that cannot even be started; the text says what to do."""


@dataclasses.dataclass(frozen=True)
class Pod:
    """What is run.

    Attributes:
      name: unique among what runs.
      image: the container image.
      command: program and arguments.
      folders: folder in the pod -> folder here.
      environment: variables beside those of the image.
      memory_gb: limit; None for none.
      gpus: how many it needs.
      log: the file for all that the command says.
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
        """Runs the command in a container; it is gone when this returns, however that is.

        Raises:
          PodError: the engine is not there, or could not start the container.
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
        # The specification's command takes the place of the image's entry point, as in Kubernetes.
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
        # Docker's own code for its own errors: no such image, no engine that answers.
        if code == 125:
            raise PodError(
                f'{self._docker} could not start a container of {pod.image}: '
                f'{_last_words(pod.log)}\n'
                'Is the engine up, and the image there (make image)?'
            )
        return code


# Argo's (argoproj/argo-workflows, workflow/executor/osspecific/umask_linux.go).
_UMASK = 'umask 0'
# A namespace of mounts; the script sees to it that they stay in it.
UNSHARE = (
    'unshare',
    '--mount',
    '--propagation',
    'unchanged',
    *(() if os.geteuid() == 0 else ('--user', '--map-root-user')),
)
# Every folder of / and then the pod's own, seen from a root of its own; all mounts end with the
# process.
_ENTER = """
set -eu
root=$1 folders=$2 workdir=$3
shift 3
# In a chroot, / belongs to another system; no mount of ours may reach it.
mount --make-rprivate / 2>/dev/null || if grep -q ' shared:' /proc/self/mountinfo; then
  echo 'mounts are shared with another system: processes cannot have folders of their own' >&2
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
# The sign for the caller that what follows is the command's own.
rm "$folders"
exec chroot "$root" /bin/sh -c '@UMASK && cd "$0" && exec "$@"' "$workdir" "$@"
""".replace('@UMASK', _UMASK)


class Processes:
    """Processes of this environment. The image is not looked at, and the project is this working
    copy.
    """

    def __init__(self, python: str = sys.executable):
        self._python = python

    def run(self, pod: Pod) -> int:
        """Runs the command with the pod's folders in their places; `python` is the interpreter that
        was chosen.

        Raises:
          PodError: the folders cannot be put there.
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
        # No more than an image has: what works by a variable of this shell would not work there.
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
            raise PodError(f'{pod.name} could not be started: {_last_words(pod.log)}')
        return code


def _last_words(log: Path) -> str:
    return ' '.join(log.read_text(encoding='utf-8', errors='replace').split())[-500:]


def image_user(docker: str, environment: Mapping[str, str], image: str) -> str:
    """The user that an image names.

    Raises:
      PodError: the engine does not hold the image.
    """
    command = [docker, 'image', 'inspect', '--format', '{{json .Config.User}}', image]
    done = subprocess.run(
        command, env=dict(environment), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise PodError(
            f'{image} is not here: build it with `make image`, or pull it. {done.stderr.strip()}'
        )
    return json.loads(done.stdout)
