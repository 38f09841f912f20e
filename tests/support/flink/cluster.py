"""Starts Flink's job manager, its task managers and Beam's job server on one machine.

Each task manager is on a separate host, which is a network namespace. This needs root, and Java 11
or 17.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.flink.jars import FlinkError

BRIDGE = 'cxrflink0'
_NETWORK = '10.213.77'
_OWN_ADDRESS = f'{_NETWORK}.1'
# Flink's job manager and Beam's job server listen on every interface that they see. They run on a
# separate host with a single interface, because jobs run as root: nobody outside may submit any.
_JOB_HOST = 0
ADDRESS = f'{_NETWORK}.{10 + _JOB_HOST}'
REST_PORT, JOB_PORT, WORKER_PORT = 8081, 8099, 50000
_START_S = 90.0
# Flink 1.16 and Beam's runner use internals of the JDK, which Java 17 allows only for these.
_OPENED = [
    'java.io',
    *(f'java.lang{part}' for part in ('', '.invoke', '.reflect')),
    *('java.net', 'java.nio', 'java.text', 'java.time'),
    *(f'java.util{part}' for part in ('', '.concurrent', '.concurrent.atomic')),
    *('sun.nio.ch', 'sun.nio.cs', 'sun.security.action', 'sun.util.calendar'),
]
_JAVA = [
    *(f'--add-opens=java.base/{package}=ALL-UNNAMED' for package in _OPENED),
    '--add-exports=java.base/sun.net.util=ALL-UNNAMED',
    '--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED',
]
_FLINK = {
    'jobmanager.rpc.address': ADDRESS,
    'jobmanager.rpc.port': 6123,
    'jobmanager.memory.process.size': '1200m',
    'rest.address': ADDRESS,
    'rest.bind-address': '0.0.0.0',
    'rest.port': REST_PORT,
    # Each of the dozens of tasks on a lost host counts as an attempt.
    'restart-strategy': 'fixed-delay',
    'restart-strategy.fixed-delay.attempts': 300,
    'restart-strategy.fixed-delay.delay': '2 s',
    'cluster.evenly-spread-out-slots': 'true',
    'heartbeat.interval': 3000,
    'heartbeat.timeout': 30000,
    'classloader.resolve-order': 'parent-first',
}
# With the default network memory, Beam's shuffles run out of buffers.
_TASK_MANAGER = {
    'taskmanager.cpu.cores': 1,
    'taskmanager.memory.task.heap.size': '900m',
    'taskmanager.memory.task.off-heap.size': '0',
    'taskmanager.memory.network.min': '768m',
    'taskmanager.memory.network.max': '768m',
    'taskmanager.memory.managed.size': '256m',
    'taskmanager.memory.framework.heap.size': '128m',
    'taskmanager.memory.framework.off-heap.size': '128m',
    'taskmanager.memory.jvm-metaspace.size': '256m',
    'taskmanager.memory.jvm-overhead.min': '192m',
    'taskmanager.memory.jvm-overhead.max': '192m',
}


@dataclasses.dataclass
class Cluster:
    """A running cluster.

    Attributes:
      parallelism: of a step; as many as the slots that remain when a host is lost.
      hosts: number of a task manager -> its processes, Flink's and the pool of Python workers.
    """

    parallelism: int
    hosts: dict[int, list[subprocess.Popen]]

    def settings(self) -> list[str]:
        """The options of `cxr-triage run` for this cluster."""
        settings = {
            'beam.flink.job_server': f'{ADDRESS}:{JOB_PORT}',
            'beam.flink.workers': f'localhost:{WORKER_PORT}',
        }
        settings['beam.flink.parallelism'] = str(self.parallelism)
        return [
            '--beam',
            'flink',
            *(part for key, value in settings.items() for part in ('--set', f'{key}={value}')),
        ]

    def jobs(self) -> list[dict[str, Any]]:
        """Flink's overview of the jobs, oldest first.

        Each job has `jid`, `name`, `state`, `start-time` and `tasks`.
        """
        return sorted(_get_json('/jobs/overview')['jobs'], key=lambda job: job['start-time'])

    def job(self, number: str) -> dict[str, Any]:
        """Flink's details of a job.

        Its `timestamps` tell when the job last entered each state, in ms since 1970, 0 for never.

        Args:
          number: the `jid` of the job.
        """
        return _get_json(f'/jobs/{number}')

    def task_managers(self) -> int:
        """The number of registered task managers."""
        return len(_get_json('/taskmanagers')['taskmanagers'])

    def kill(self, number: int) -> None:
        """Kills all processes of a host."""
        for process in self.hosts.pop(number):
            _end(process, signal.SIGKILL)


@contextlib.contextmanager
def cluster(jars: Path, folder: Path, task_managers: int = 2, slots: int = 2) -> Iterator[Cluster]:
    """Runs a cluster inside the context.

    Args:
      jars: from `jars.fetch`.
      folder: for configurations and logs.
      task_managers: the number of hosts.
      slots: of each host.

    Raises:
      FlinkError: the cluster cannot start here.
    """
    _check()
    folder.mkdir(parents=True, exist_ok=True)
    classes = f'{jars}/*'
    with contextlib.ExitStack() as stack:
        _network(stack, task_managers)
        started: list[subprocess.Popen] = []
        stack.callback(_end_all, started)

        def start(name: str, command: Sequence[str], host: int | None = None) -> subprocess.Popen:
            inside = ['ip', 'netns', 'exec', _namespace(host)] if host is not None else []
            with (folder / f'{name}.log').open('wb') as log:
                process = subprocess.Popen(
                    [*inside, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            started.append(process)
            return process

        def java(memory: str, main: str, *arguments: str) -> list[str]:
            # Network buffers are outside the heap.
            return [
                'java',
                *_JAVA,
                f'-Xmx{memory}',
                '-XX:MaxDirectMemorySize=1200m',
                '-cp',
                classes,
                main,
                *arguments,
            ]

        entry = 'org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint'
        start(
            'jobmanager',
            java('800m', entry, '--configDir', str(_configuration(folder / 'jobmanager', {}))),
            _JOB_HOST,
        )
        _wait_for(ADDRESS, REST_PORT, folder / 'jobmanager.log')
        hosts = {}
        for number in range(1, task_managers + 1):
            host = f'{_NETWORK}.{10 + number}'
            own = {
                **_TASK_MANAGER,
                'taskmanager.host': host,
                'taskmanager.numberOfTaskSlots': slots,
            }
            configuration = _configuration(folder / f'taskmanager-{number}', own)
            runner = 'org.apache.flink.runtime.taskexecutor.TaskManagerRunner'
            flags = [part for key, value in own.items() for part in ('-D', f'{key}={value}')]
            hosts[number] = [
                start(
                    f'taskmanager-{number}',
                    java('1100m', runner, '--configDir', str(configuration), *flags),
                    number,
                ),
                start(f'workers-{number}', _pool(), number),
            ]
        server = [
            '--flink-master',
            f'{ADDRESS}:{REST_PORT}',
            '--job-host',
            ADDRESS,
            '--job-port',
            str(JOB_PORT),
        ]
        server += ['--artifact-port', str(JOB_PORT + 1), '--expansion-port', str(JOB_PORT + 2)]
        start(
            'jobserver',
            java('2g', 'org.apache.beam.runners.flink.FlinkJobServerDriver', *server),
            _JOB_HOST,
        )
        _wait_for(ADDRESS, JOB_PORT, folder / 'jobserver.log')
        running = Cluster(max(task_managers - 1, 1) * slots, hosts)
        deadline = time.monotonic() + _START_S
        while running.task_managers() < task_managers:
            if time.monotonic() > deadline:
                raise FlinkError(
                    f'the task managers did not register within {_START_S:.0f} s; see '
                    f'{folder}/taskmanager-*.log'
                )
            time.sleep(0.5)
        yield running


def _check() -> None:
    if os.geteuid() != 0:
        raise FlinkError(
            'the hosts are network namespaces, which only root can make: run this with sudo'
        )
    for command, package in (('java', 'default-jre-headless'), ('ip', 'iproute2')):
        if not shutil.which(command):
            raise FlinkError(f'no {command} on PATH (Debian, Ubuntu: the package {package})')
    if (
        subprocess.run(['ip', 'link', 'show', BRIDGE], capture_output=True, check=False).returncode
        == 0
    ):
        raise FlinkError(
            f'the network {BRIDGE} exists already. If no other cluster is running, one was killed: '
            f'ip link del {BRIDGE}'
        )


def _network(stack: contextlib.ExitStack, hosts: int) -> None:
    """Makes a bridge with a namespace for each host."""
    _ip('link', 'add', BRIDGE, 'type', 'bridge')
    stack.callback(_ip, 'link', 'del', BRIDGE)
    _ip('address', 'add', f'{_OWN_ADDRESS}/24', 'dev', BRIDGE)
    _ip('link', 'set', BRIDGE, 'up')
    for number in (_JOB_HOST, *range(1, hosts + 1)):
        name, outside, within = _namespace(number), f'{BRIDGE}v{number}', f'{BRIDGE}e{number}'
        _ip('netns', 'add', name)
        stack.callback(_ip, 'netns', 'del', name)
        _ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', within)
        _ip('link', 'set', outside, 'master', BRIDGE, 'up')
        _ip('link', 'set', within, 'netns', name)
        for command in (
            f'address add {_NETWORK}.{10 + number}/24 dev {within}',
            f'link set {within} up',
            'link set lo up',
        ):
            _ip('-n', name, *command.split())


def _namespace(host: int) -> str:
    return f'cxrflink{host}'


def _ip(*arguments: str) -> None:
    result = subprocess.run(['ip', *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise FlinkError(f'ip {" ".join(arguments)}: {result.stderr.strip()}')


def _configuration(folder: Path, own: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'flink-conf.yaml').write_text(
        ''.join(f'{key}: {value}\n' for key, value in {**_FLINK, **own}.items())
    )
    return folder


def _pool() -> list[str]:
    """The command of a pool of workers, which starts the `python` on PATH: that of this project."""
    path = f'{Path(sys.executable).parent}:{os.environ.get("PATH", "")}'
    module = 'apache_beam.runners.worker.worker_pool_main'
    return [
        'env',
        f'PATH={path}',
        'TF_CPP_MIN_LOG_LEVEL=3',
        sys.executable,
        '-m',
        module,
        f'--service_port={WORKER_PORT}',
    ]


def _wait_for(host: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        if time.monotonic() > deadline:
            raise FlinkError(
                f'nothing answers at {host}:{port} after {_START_S:.0f} s; {log} ends '
                f'with:\n{log.read_text()[-1500:]}'
            )
        time.sleep(0.3)


def _get_json(path: str) -> dict[str, Any]:
    # A busy machine takes longer than ten seconds now and then.
    url = f'http://{ADDRESS}:{REST_PORT}{path}'
    with urllib.request.urlopen(url, timeout=_START_S) as answer:
        return json.load(answer)


def _end_all(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        _end(process, signal.SIGTERM)


def _end(process: subprocess.Popen, number: signal.Signals) -> None:
    """Ends a process and all processes that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
