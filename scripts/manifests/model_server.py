"""Checks TF Serving's flags against its pod, and its model configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.manifests.objects import Container, Objects, Pod, Problem, listed

_MODELS = 'model_config_file'
_MONITORING = 'monitoring_config_file'
# Flag -> TF Serving's default (tensorflow_serving/model_servers/main.cc).
_RETRIES = {'max_num_load_retries': 5, 'load_retry_interval_micros': 60_000_000}
_LOG_LEVEL = 'TF_CPP_MIN_LOG_LEVEL'
_LABELS_AT_START = 'allow_version_labels_for_unavailable_models'
# /v1/models/NAME, with a version's number or label
# (tensorflow_serving/model_servers/http_rest_api_util.cc).
_STATUS_PATH = re.compile(r'/v1/models/([^/:]+)(?:/labels/([^/:]+)|/versions/\d+)?(?:/metadata)?')
_LABEL = re.compile(r'[A-Za-z0-9_]+')
# The Pusher uses seconds since 1970 as version numbers; smaller numbers are placeholders.
FIRST_VERSION = 1_000_000_000


@dataclass(frozen=True)
class Server:
    """A container that runs TF Serving.

    Attributes:
        pod: its pod.
        container: the container.
        flags: name -> value.
    """

    pod: Pod
    container: Container
    flags: Mapping[str, str]

    def file(self, objects: Objects, path: str) -> str | None:
        """The text of a file from a mounted config map of the folder; None if there is none."""
        for mount in self.container.listed('volumeMounts'):
            folder = mount['mountPath'].rstrip('/') + '/'
            if path.startswith(folder):
                volume = next(
                    (item for item in self.pod.volumes() if item['name'] == mount['name']), {}
                )
                name = (volume.get('configMap') or {}).get('name', '')
                config_map = objects.find('ConfigMap', name, self.pod.manifest.namespace)
                return (
                    (config_map.content.get('data') or {}).get(path.removeprefix(folder))
                    if config_map
                    else None
                )
        return None

    def problem(self, flag: str, text: str) -> Problem:
        return Problem(self.pod.manifest, f'{self.container.field}.args[--{flag}]', text)


def servers(objects: Objects) -> list[Server]:
    """The containers with a model configuration."""
    servers = []
    for pod in objects.pods():
        for container in pod.containers():
            pairs = (
                argument.removeprefix('--').partition('=')
                for argument in container.command_line
                if argument.startswith('--')
            )
            flags = {name: value for name, _, value in pairs}
            if _MODELS in flags:
                servers.append(Server(pod, container, flags))
    return servers


def flags(objects: Objects) -> Iterator[Problem]:
    """TF Serving's files are mounted, and its container exposes only ports that it listens on."""
    for server in servers(objects):
        for name, value in server.flags.items():
            if name.endswith('_file') and server.file(objects, value) is None:
                text = (
                    f'{value}: no mounted config map of this folder has that file: mount it, or '
                    'correct the path'
                )
                yield server.problem(name, text)
        listening = {
            int(server.flags[name])
            for name in ('port', 'rest_api_port')
            if server.flags.get(name, '').isdecimal()
        }
        for port in server.container.listed('ports'):
            if port['containerPort'] not in listening:
                text = (
                    f'{port["containerPort"]}: TF Serving listens on {listed(sorted(listening))} '
                    'by its flags: use one of these'
                )
                yield Problem(
                    server.pod.manifest, f'{server.container.field}.ports[{port.get("name")}]', text
                )


def models(objects: Objects) -> Iterator[Problem]:
    """The model configuration is valid; labels and readiness probe refer to loaded versions."""
    for server in servers(objects):
        text = server.file(objects, server.flags[_MODELS])
        if text is None:
            continue  # reported by `flags`
        parsed = _parse(text)
        if isinstance(parsed, str):
            yield server.problem(
                _MODELS, f'{server.flags[_MODELS]} is not a valid ModelServerConfig: {parsed}'
            )
            continue
        if not parsed:
            yield server.problem(
                _MODELS,
                f'{server.flags[_MODELS]} has no model: expected model_config_list {{ config {{ '
                '… } }',
            )
        for model in parsed:
            yield from _model(server, model)
        yield from _readiness_probe(server, parsed)


def versions(objects: Objects) -> Iterator[tuple[Server, str, int]]:
    """Yields (server, model name, version) for each configured version."""
    for server in servers(objects):
        parsed = _parse(server.file(objects, server.flags[_MODELS]) or '')
        for model in [] if isinstance(parsed, str) else parsed:
            for version in model.model_version_policy.specific.versions:
                yield server, model.name, version


def retries(objects: Objects) -> Iterator[Problem]:
    """TF Serving gives up a damaged version before the startup probe ends the pod.

    Until then it opens no port, not even for the other versions.
    """
    for server in servers(objects):
        probe = server.container.content.get('startupProbe')
        tries, pause = (int(server.flags.get(name, default)) for name, default in _RETRIES.items())
        timeout = (probe or {}).get('periodSeconds', 10) * (probe or {}).get('failureThreshold', 3)
        if probe and tries * pause / 1e6 >= timeout:
            text = (
                f'{pause} microseconds between {tries} retries of a damaged version keep all '
                f'ports closed for {tries * pause / 1e6:g} s, '
                f'and startupProbe waits {timeout} s: set --{list(_RETRIES)[1]}=5000000'
            )
            yield server.problem(list(_RETRIES)[1], text)


def log_lines(objects: Objects) -> Iterator[Problem]:
    """The log shows which version is loaded."""
    for server in servers(objects):
        for variable in server.container.listed('env'):
            if variable['name'] == _LOG_LEVEL and str(variable.get('value')) != '0':
                text = (
                    f'is {variable.get("value")}: it hides the log line with the loaded version; '
                    'remove it'
                )
                yield Problem(
                    server.pod.manifest, f'{server.container.field}.env[{_LOG_LEVEL}]', text
                )


def monitoring_paths(objects: Objects) -> Iterator[Problem]:
    """Prometheus scrapes the path at which TF Serving publishes its metrics."""
    for server in servers(objects):
        text = server.file(objects, server.flags.get(_MONITORING, ''))
        path = re.search(r'path:\s*"([^"]*)"', text or '')
        if path is None:
            continue
        template = server.pod.field.removesuffix('.spec')
        annotation = _annotations(server.pod).get('prometheus.io/path')
        if annotation is not None and annotation != path.group(1):
            text = (
                f'{annotation}: TF Serving answers at {path.group(1)} '
                f'({server.flags[_MONITORING]}); make them the same'
            )
            yield Problem(
                server.pod.manifest, f'{template}.metadata.annotations[prometheus.io/path]', text
            )
        for monitor in objects.of('PodMonitoring'):
            if server.pod in objects.selected(
                monitor.spec.get('selector') or {}, monitor.namespace
            ):
                for index, endpoint in enumerate(monitor.spec.get('endpoints') or ()):
                    if endpoint.get('path') != path.group(1):
                        text = (
                            f'{endpoint.get("path")}: TF Serving answers at {path.group(1)} '
                            f'({server.flags[_MONITORING]})'
                        )
                        yield Problem(
                            monitor, f'spec.endpoints[{index}].path', f'{text}; make them the same'
                        )


def _annotations(pod: Pod) -> Mapping[str, str]:
    content: Any = pod.manifest.content
    for key in pod.field.split('.')[:-1]:
        content = content.get(key) or {}
    return (content.get('metadata') or {}).get('annotations') or {}


def _parse(text: str) -> list[Any] | str:
    """Returns the models of a configuration in text format, or an error message."""
    # TF Serving's protos, which do not need TensorFlow.
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    try:
        return list(
            text_format.Parse(
                text, model_server_config_pb2.ModelServerConfig()
            ).model_config_list.config
        )
    except text_format.ParseError as error:
        return str(error)


def _model(server: Server, model: Any) -> Iterator[Problem]:
    where = f'{server.flags[_MODELS]}, model {model.name!r}'
    loaded = list(model.model_version_policy.specific.versions)
    if not loaded:
        text = (
            f'{where}: no versions: expected model_version_policy {{ specific {{ versions: … }} '
            '}, because other versions lose their labels'
        )
        yield server.problem(_MODELS, text)
    for label, version in sorted(model.version_labels.items()):
        if not _LABEL.fullmatch(label):
            yield server.problem(
                _MODELS, f'{where}: label {label!r}: expected letters, digits and _ only'
            )
        if loaded and version not in loaded:
            text = (
                f'{where}: label {label!r} points to {version}, which is not loaded '
                f'({listed(loaded)}): add it to `versions`'
            )
            yield server.problem(_MODELS, text)
    if model.version_labels and server.flags.get(_LABELS_AT_START) != 'true':
        text = (
            f'is {server.flags.get(_LABELS_AT_START)}: expected true, because {where} has labels '
            'and no version is loaded at the start'
        )
        yield server.problem(_LABELS_AT_START, text)
    folders = [mount['mountPath'].rstrip('/') for mount in server.container.listed('volumeMounts')]
    path = model.base_path
    if not path.startswith('gs://') and not any(
        f'{path}/'.startswith(f'{folder}/') for folder in folders
    ):
        text = (
            f'{where}: base_path {path!r} is neither gs:// nor below a mounted folder '
            f'({listed(folders)}): mount it, or correct the path'
        )
        yield server.problem(_MODELS, text)


def _readiness_probe(server: Server, parsed: list[Any]) -> Iterator[Problem]:
    """The readiness probe requests a configured model and label."""
    path = ((server.container.content.get('readinessProbe') or {}).get('httpGet') or {}).get(
        'path', ''
    )
    status = _STATUS_PATH.fullmatch(path)
    field = f'{server.container.field}.readinessProbe.httpGet.path'
    names = {model.name: model for model in parsed}
    if status is None or status.group(1) not in names:
        text = (
            f'{path!r}: expected /v1/models/NAME/labels/LABEL/metadata with a NAME of '
            f'{server.flags[_MODELS]} ({listed(list(names))})'
        )
        yield Problem(server.pod.manifest, field, text)
    elif status.group(2) and status.group(2) not in names[status.group(1)].version_labels:
        labels = listed(list(names[status.group(1)].version_labels))
        yield Problem(
            server.pod.manifest,
            field,
            f'{path}: there is no label {status.group(2)!r}: expected one of {labels}',
        )
