"""Calls the API server of Kubeflow Pipelines with kfp's client, and explains its errors.

kfp is imported only when a connection is made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import io
import json
import os
import socket
import urllib.parse
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

from pipeline.kubeflow import runs, server_errors
from pipeline.kubeflow.server_errors import ServerError

# kfp's client reads this variable too.
HOST_VARIABLE = 'KF_PIPELINES_ENDPOINT'
_TIMEOUT_S = 60.0
_T = TypeVar('_T')


@dataclasses.dataclass(frozen=True)
class Connection:
    """The address of the API server, and the credentials.

    Attributes:
      host: URL of the API server, or of the user interface, which forwards the requests.
      namespace: namespace of the user, if Kubeflow Pipelines serves several users.
      token_file: file with a bearer token; it is read at every use.
      iap_client_id: OAuth client of Google's Identity-Aware Proxy.
      ca_file: file with additional certificates that TLS trusts.
    """

    host: str
    namespace: str | None = None
    token_file: str | None = None
    iap_client_id: str | None = None
    ca_file: str | None = None


class Server:
    """An open connection to an API server.

    Every method raises ServerError, whose text names the request, the response and what to do.

    Attributes:
      version: version of Kubeflow Pipelines that the server reports, e.g. 2.17.0; '' if it reports
        none.

    Example:
        >>> server = Server(Connection('http://localhost:8080'))
        >>> run_id = server.submit(
        ...     'nih_triage.yaml', 'gs://bucket/runs', {}, 'nih-triage', 'first run'
        ... )
        >>> server.run(run_id).state
        'PENDING'
    """

    def __init__(self, connection: Connection):
        self._connection = connection
        self.version = ''
        self._client = self._connect()

    def link(self, run_id: str, kind: Literal['runs', 'recurringrun'] = 'runs') -> str:
        """The URL at which a browser shows a run or a recurring run."""
        return f'{self._connection.host}/#/{kind}/details/{run_id}'

    def submit(
        self,
        path: str,
        root: str,
        parameters: Mapping[str, Any],
        experiment: str,
        name: str,
        service_account: str | None = None,
        note: str = '',
    ) -> str:
        """Creates a run and returns its id.

        Args:
          path: the specification, a .yaml file.
          root: the pipeline root.
          parameters: pipeline parameters that differ from their defaults.
          experiment: name of the experiment, which is created if it does not exist.
          name: name of the run.
          service_account: service account of the pods; None leaves the choice to the server, which
            uses `pipeline-runner` or `default-editor`.
          note: the description of the run; '' for none.
        """
        experiment_id = self._experiment(experiment)

        def create() -> Any:
            with _describing(self._client, note):
                return self._client.run_pipeline(
                    experiment_id,
                    name,
                    pipeline_package_path=path,
                    params=dict(parameters),
                    pipeline_root=root,
                    service_account=service_account,
                )

        return self._id(self._call(f'submitting {path}', create), 'run_id')

    def recur(
        self,
        path: str,
        root: str,
        parameters: Mapping[str, Any],
        experiment: str,
        name: str,
        cron: str,
        service_account: str | None = None,
        note: str = '',
    ) -> str:
        """Creates a recurring run and returns its id.

        Args:
          path: the specification, as for `submit`.
          root: as for `submit`.
          parameters: as for `submit`.
          experiment: as for `submit`.
          name: as for `submit`.
          cron: a cron expression with six fields, of which the first is seconds.
          service_account: as for `submit`.
          note: as for `submit`.
        """
        experiment_id = self._experiment(experiment)

        def create() -> Any:
            return self._client.create_recurring_run(
                experiment_id,
                name,
                description=note or None,
                cron_expression=cron,
                # A run that outlasts its period delays the next; missed runs are skipped.
                max_concurrency=1,
                no_catchup=True,
                params=dict(parameters),
                pipeline_package_path=path,
                pipeline_root=root,
                service_account=service_account,
            )

        return self._id(self._call(f'submitting {path}', create), 'recurring_run_id')

    def run(self, run_id: str) -> runs.Run:
        """Returns the state of a run and its steps."""
        action = f'looking for run {run_id}'
        response = self._call(action, lambda: self._client.get_run(run_id)).to_dict()
        if not response.get('run_id'):
            raise self._not_an_api_server()
        return runs.read(
            response, self._workflow(action, run_id), datetime.datetime.now(datetime.timezone.utc)
        )

    def _workflow(self, action: str, run_id: str) -> dict[str, Any]:
        """Argo's workflow; empty if there is none yet or if the server lacks the older API."""
        try:
            response = json.loads(
                self._call(
                    action, lambda: _get(self._client, '/apis/v1beta1/runs/{run_id}', run_id=run_id)
                )
            )
            return json.loads(response.get('pipeline_runtime', {}).get('workflow_manifest') or '{}')
        except ServerError as error:
            if error.temporary:
                raise
        except ValueError:
            pass  # an HTML page
        return {}

    def log(self, run_id: str, pod: str, namespace: str) -> str:
        """The output of a pod's container.

        The API server has the archived logs of finished pods. It has the log of a running pod only
        if it serves several users. If it serves one user, it requests the pod from Kubernetes
        without a namespace, which fails (2.15 - 2.17, apiserver/resource/resource_manager.go:
        ReadLog). The user interface has that log too, and --host can be its address.
        """
        action = f'reading the log of {pod}'
        try:
            return self._log(
                action,
                '/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log',
                run_id=run_id,
                node_id=pod,
            )
        except ServerError as error:
            if error.temporary:
                raise
            query = {'podname': pod, 'runid': run_id, 'podnamespace': namespace}
            with contextlib.suppress(ServerError):
                return self._log(action, '/k8s/pod/logs?' + urllib.parse.urlencode(query))
            raise

    def _log(self, action: str, path: str, **parameters: str) -> str:
        text = self._call(action, lambda: _get(self._client, path, **parameters)).decode(
            errors='replace'
        )
        if text[:15].lower().startswith(('<!doctype html', '<html')):
            raise self._not_an_api_server()
        # The API server sends "200 OK" before it looks for the log, and then sends an error in
        # place of the log.
        start = text.rfind('{"error_message":')
        if start >= 0:
            with contextlib.suppress(ValueError):
                raise ServerError(f'{action}: {json.loads(text[start:])["error_message"]}')
        return text

    def cancel(self, run_id: str) -> None:
        """Cancels a run; finished steps stay in the cache."""
        self._call(f'cancelling run {run_id}', lambda: self._client.terminate_run(run_id))

    def _experiment(self, name: str) -> str:
        namespace = self._connection.namespace
        # kfp returns an existing experiment of that name.
        experiment = self._call(
            f'looking for experiment {name!r}',
            lambda: self._client.create_experiment(name, namespace=namespace),
        )
        return self._id(experiment, 'experiment_id')

    def _id(self, response: Any, name: str) -> str:
        if not (value := getattr(response, name, None)):
            raise self._not_an_api_server()
        return value

    def _not_an_api_server(self) -> ServerError:
        return server_errors.not_an_api_server(self._connection.host)

    def _call(self, action: str, request: Callable[[], _T]) -> _T:
        try:
            return self._quietly(request)
        except Exception as error:
            if getattr(error, 'status', None) == 401:
                # The token can have expired: connect again, with a new token.
                self._client = self._connect()
                with server_errors.explained(action, self._connection):
                    return self._quietly(request)
            raise server_errors.explain(error, action, self._connection) from error

    def _connect(self) -> Any:
        with server_errors.explained('connecting', self._connection):
            client = self._quietly(lambda: _make(self._connection))
            # A login page answers with HTML.
            health = self._quietly(lambda: _get_healthz(client))
        if not isinstance(health, dict):
            raise self._not_an_api_server()
        self.version = str(health.get('tag_name') or '')
        return client

    @staticmethod
    def _quietly(request: Callable[[], _T]) -> _T:
        """Makes a request with a timeout, without kfp's output and warnings."""
        previous = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT_S)
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter('ignore')
                return request()
        finally:
            socket.setdefaulttimeout(previous)


@contextlib.contextmanager
def _describing(client: Any, note: str) -> Iterator[None]:
    """Adds a description to the run that kfp's client creates: it has no parameter for it."""
    api = client._run_api.api_client
    call = api.call_api

    def call_with_note(*arguments: Any, **keywords: Any) -> Any:
        keywords['body'].description = note
        return call(*arguments, **keywords)

    if note:
        api.call_api = call_with_note
    try:
        yield
    finally:
        api.call_api = call


def _get(client: Any, path: str, **parameters: str) -> bytes:
    """Requests a path of the API server for which kfp's client has no method."""
    api = client._run_api.api_client
    return api.call_api(
        path, 'GET', path_params=parameters, auth_settings=['Bearer'], _preload_content=False
    ).read()


def _get_healthz(client: Any) -> Any:
    try:
        return json.loads(_get(client, '/apis/v2beta1/healthz'))
    except ValueError:
        return None


def _make(connection: Connection) -> Any:
    import kfp
    from kfp.client import set_volume_credentials

    class Client(kfp.Client):
        """Replaces kfp's health check, which retries a refused connection five times, 5 s apart."""

        def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
            health = _get_healthz(self)
            return SimpleNamespace(
                multi_user=isinstance(health, dict) and bool(health.get('multi_user'))
            )

    if connection.ca_file and not os.path.isfile(connection.ca_file):
        raise ServerError(
            f'{connection.ca_file}: no such file; --ca-file needs certificates in PEM format'
        )
    options: dict[str, Any] = {
        'host': connection.host,
        'client_id': connection.iap_client_id,
        'ssl_ca_cert': connection.ca_file,
    }
    if connection.namespace:
        options['namespace'] = connection.namespace
    if connection.token_file:
        # Read at each request, because the token of a pod expires after an hour.
        options['credentials'] = set_volume_credentials.ServiceAccountTokenVolumeCredentials(
            connection.token_file
        )
    return Client(**options)


def host(option: str | None) -> str:
    """Returns the address of the API server from --host or KF_PIPELINES_ENDPOINT.

    Raises:
      ServerError: there is no address, or it is not a URL.
    """
    address = option or os.environ.get(HOST_VARIABLE, '')
    if not address.startswith(('http://', 'https://')):
        raise ServerError(
            (f'{address!r} is not the address of an API server' if address else 'no API server')
            + f': give its URL with --host or in {HOST_VARIABLE}, e.g. http://localhost:8080 after '
            '`kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80`, or '
            'http://ml-pipeline.kubeflow:8888 inside the cluster'
        )
    return address.rstrip('/')
