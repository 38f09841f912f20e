"""A test double of the API server of Kubeflow Pipelines, with the endpoints that this project uses.

Its checks, errors and responses follow backend/src/apiserver of Kubeflow Pipelines 2.17.0. It runs
nothing: each request for a run starts or ends the next step. As in Kubeflow, the inputs of a task
decide whether it is cached.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.support.workflow_double import RefusedError, Workflow, check_cron, check_spec

_RUN_FIELDS = {
    'experiment_id',
    'display_name',
    'description',
    'pipeline_spec',
    'pipeline_version_reference',
    'runtime_config',
}
_RUN_FIELDS |= {'service_account'}
_RECURRING_FIELDS = _RUN_FIELDS | {'mode', 'trigger', 'max_concurrency', 'no_catchup'}


class ApiDouble:
    """The state of the double, which tests change.

    Attributes:
      url: where it listens.
      token: the token that it requires; '' for none.
      allowed: whether the owner of the token has permissions.
      fails: steps that fail.
      logs: the logs of existing pods, by name.
      archived: the logs that Argo has archived, by name of the pod.
      version: of Kubeflow Pipelines.
      older_api: whether it offers v1beta1.
      multi_user: whether it serves several users.
      interface: whether requests go to the user interface in front of the API server.
      unavailable: for how many requests the proxy in front finds no server.
      bodies: of the requests for runs and recurring runs.
    """

    def __init__(self, url: str):
        self.url = url
        self.token = ''
        self.allowed = True
        self.fails: set[str] = set()
        self.logs: dict[str, str] = {}
        self.archived: dict[str, str] = {}
        self.version = '2.17.0'
        self.older_api = True
        self.multi_user = False
        self.interface = False
        self.unavailable = 0
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, Workflow] = {}
        self.recurring: dict[str, dict] = {}
        self.cache: dict[str, int] = {}
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[dict] = []

    def answer(self, method: str, address: str, body: dict, token: str) -> dict | str:
        """Answers a request with JSON or the text of a log.

        Raises:
          RefusedError: the answer is an error.
        """
        parts = urlsplit(address)
        self.requests.append((method, parts.path))
        self._admit(token)
        version, *path = parts.path.removeprefix('/apis/').split('/')
        response: dict | str | None = None
        match (method, version, path):
            case ('GET', 'v2beta1', ['healthz']):
                response = {
                    'commit_sha': '0' * 40,
                    'tag_name': self.version,
                    'multi_user': self.multi_user,
                }
            case ('GET', 'v2beta1', ['experiments']):
                response = self._experiments(parse_qs(parts.query))
            case ('POST', 'v2beta1', ['experiments']):
                response = self._new_experiment(body)
            case ('POST', 'v2beta1', ['runs']):
                response = self._new_run(body)
            case ('POST', 'v2beta1', ['recurringruns']):
                response = self._new_recurring_run(body)
            case ('GET', 'v2beta1', ['runs', run_id]):
                self._run(run_id).advance(self.fails)
                response = self._run(run_id).as_v2(run_id)
            case ('POST', 'v2beta1', ['runs', run_id]) if run_id.endswith(':terminate'):
                response = self._terminate(run_id.removesuffix(':terminate'))
            case ('GET', 'v1beta1', ['runs', run_id]) if self.older_api:
                response = {
                    'run': {'id': run_id},
                    'pipeline_runtime': {
                        'workflow_manifest': json.dumps(self._run(run_id).as_argo())
                    },
                }
            case ('GET', 'v1alpha1', ['runs', run_id, 'nodes', pod, 'log']) if not self.interface:
                response = self._log(run_id, pod)
        if response is None and self.interface:
            response = self._page(parts.path, parse_qs(parts.query))
        if response is None:
            raise RefusedError(404, 5, 'Not Found')
        return response

    def _admit(self, token: str) -> None:
        if self.unavailable:
            self.unavailable -= 1
            raise RefusedError(503, 14, 'no healthy upstream')
        if self.token and token != f'Bearer {self.token}':
            raise RefusedError(
                401,
                16,
                'Failed to authorize with API: request header error: there is no user identity '
                'header',
            )
        if not self.allowed:
            raise RefusedError(
                403,
                7,
                'User is not authorized with reason: (request: {Namespace: ns, Verb: create, '
                'Resource: runs})',
            )

    def _run(self, run_id: str) -> Workflow:
        if run_id not in self.runs:
            raise RefusedError(
                404,
                5,
                f'Run {run_id} not found',
                'Failed to get a run: Failed to fetch run: ResourceNotFoundError',
            )
        return self.runs[run_id]

    def _experiments(self, query: dict[str, list[str]]) -> dict:
        self._check_namespace(query.get('namespace'))
        (predicate,) = json.loads(query['filter'][0])['predicates']
        assert predicate['operation'] in (1, 'EQUALS') and predicate['key'] == 'display_name'
        experiments = [
            {'experiment_id': key, 'display_name': name}
            for key, name in self.experiments.items()
            if name == predicate['stringValue']
        ]
        return {'experiments': experiments, 'total_size': len(experiments)} if experiments else {}

    def _new_experiment(self, body: dict) -> dict:
        _check_fields(body, {'display_name', 'description', 'namespace'})
        self._check_namespace(body.get('namespace'))
        if not body.get('display_name'):
            raise RefusedError(
                500,
                13,
                'Invalid input error: Experiment must have a non-empty name',
                'InternalServerError',
            )
        key = str(uuid.uuid4())
        self.experiments[key] = body['display_name']
        return {'experiment_id': key, **body}

    def _check_namespace(self, name: object) -> None:
        if self.multi_user and not name:
            raise RefusedError(
                400,
                3,
                'An experiment cannot have an empty namespace in multi-user mode',
                'Failed to authorize with API',
            )

    def _checked(self, body: dict, fields: set[str]) -> tuple[dict, dict]:
        """The specification and the runtime configuration of a request for a run."""
        _check_fields(body, fields)
        if not body.get('display_name'):
            raise RefusedError(
                500, 13, 'Invalid input error: Run name cannot be empty', 'InternalServerError'
            )
        if body.get('experiment_id') not in self.experiments:
            raise RefusedError(404, 5, f'Experiment {body.get("experiment_id")} not found')
        self.bodies.append(body)
        runtime = body.get('runtime_config', {})
        _check_fields(runtime, {'parameters', 'pipeline_root'})
        return check_spec(body.get('pipeline_spec'), runtime.get('parameters', {})), runtime

    def _new_run(self, body: dict) -> dict:
        spec, runtime = self._checked(body, _RUN_FIELDS)
        run_id = str(uuid.uuid4())
        self.runs[run_id] = Workflow(
            body, spec, runtime.get('parameters', {}), self.cache, self.version
        )
        return self.runs[run_id].as_v2(run_id)

    def _new_recurring_run(self, body: dict) -> dict:
        self._checked(body, _RECURRING_FIELDS)
        if not 1 <= int(body.get('max_concurrency', 0)) <= 10:
            raise RefusedError(
                400, 3, 'Max concurrency of a recurring run must be at least 1 and at most 10'
            )
        check_cron(body['trigger']['cron_schedule']['cron'])
        key = str(uuid.uuid4())
        self.recurring[key] = body
        return {'recurring_run_id': key, **body}

    def _terminate(self, run_id: str) -> dict:
        if self._run(run_id).ended:
            raise RefusedError(
                400,
                3,
                f'Failed to terminate a run: Failed to terminate a run {run_id}. Row not found',
            )
        self.runs[run_id].stopped = True
        return {}

    def _log(self, run_id: str, pod: str) -> str:
        """The log of the pod, or else the archived one.

        The server sends status 200 before it looks for the log, so an error takes its place.
        """
        if self.multi_user and self._has_pod(run_id, pod):
            return self.logs[pod]
        if pod in self.archived:
            return self.archived[pod]
        reason = (
            f'Failed to read logs from archive {pod} due to error fetching the log file: The '
            'specified key does not exist.'
        )
        message = f'Failed to read logs for run {run_id}: {reason}'
        return json.dumps(
            {'error_message': message, 'error_details': message}, separators=(',', ':')
        )

    def _page(self, path: str, query: dict[str, list[str]]) -> str:
        """The answers of the user interface itself: logs, and its page for every other path."""
        if path != '/k8s/pod/logs':
            return '<!doctype html><html lang="en"><head></head></html>'
        (pod,), (run_id,) = query['podname'], query['runid']
        if query.get('podnamespace') != ['kubeflow'] or not self._has_pod(run_id, pod):
            raise RefusedError(500, 13, 'Could not get main container logs')
        return self.logs[pod]

    def _has_pod(self, run_id: str, pod: str) -> bool:
        return pod in self.logs and pod in [
            node['pod'] for node in self._run(run_id).nodes() if node['type'] == 'Pod'
        ]


def _check_fields(content: dict, fields: set[str]) -> None:
    for name in set(content) - fields:
        raise RefusedError(400, 3, f'proto: (line 1:2): unknown field "{name}"')


@contextmanager
def serve() -> Iterator[ApiDouble]:
    """Starts a double on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'
        # Otherwise the content waits 40 ms until the client acknowledges the headers.
        disable_nagle_algorithm = True

        def _handle(self) -> None:
            size = int(self.headers.get('Content-Length') or 0)
            body = json.loads(self.rfile.read(size) or '{}')
            try:
                answer, status = (
                    double.answer(
                        self.command, self.path, body, self.headers.get('authorization') or ''
                    ),
                    200,
                )
            except RefusedError as refused:
                answer, status = refused.as_json(), refused.status
            content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header(
                'Content-Type', 'text/plain' if isinstance(answer, str) else 'application/json'
            )
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _handle  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        double = ApiDouble(f'http://127.0.0.1:{server.server_address[1]}')
        thread = threading.Thread(
            target=server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True
        )
        thread.start()
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
