"""Kubeflow Pipelines' API server through kfp's own client, with its errors in words. kfp is
imported when a connection is made.
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
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

from pipeline.kubeflow import runs, server_errors
from pipeline.kubeflow.server_errors import ServerError

# What kfp's client reads for itself, too.
HOST_VARIABLE = 'KF_PIPELINES_ENDPOINT'
_TIMEOUT_S = 60.0
_T = TypeVar('_T')


@dataclasses.dataclass(frozen=True)
class Connection:
    """Where the API server is, and who is asking.

    Attributes:
      host: its URL, or that of the user interface, which hands on what is meant for it.
      namespace: of the user, where Kubeflow Pipelines serves several.
      token_file: a bearer token, read anew whenever it is needed.
      iap_client_id: OAuth client of Google's Identity-Aware Proxy.
      ca_file: certificates that TLS trusts beside the usual.
    """

    host: str
    namespace: str | None = None
    token_file: str | None = None
    iap_client_id: str | None = None
    ca_file: str | None = None


class Server:
    """A connection to an API server that has answered.

    Every method raises ServerError: the request, the answer, and what to do.

    Attributes:
      version: of Kubeflow Pipelines as the server reports it, e.g. 2.17.0; '' if it does not.
    """

    def __init__(self, connection: Connection):
        self._connection = connection
        self.version = ''
        self._client = self._connect()

    def link(self, run_id: str, kind: Literal['runs', 'recurringrun'] = 'runs') -> str:
        """Where a browser shows a run, or one that recurs."""
        return f'{self._connection.host}/#/{kind}/details/{run_id}'

    def submit(
        self,
        path: str,
        root: str,
        parameters: Mapping[str, Any],
        experiment: str,
        name: str,
        service_account: str | None = None,
    ) -> str:
        """Creates a run and returns its id.

        Args:
          path: the specification, a .yaml file.
          root: the pipeline root.
          parameters: pipeline parameters that differ from their defaults.
          experiment: its name; it is created where there is none.
          name: of the run.
          service_account: that the pods act as; None: the server's choice, `pipeline-runner` or
            `default-editor`.
        """
        experiment_id = self._experiment(experiment)

        def create() -> Any:
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
    ) -> str:
        """Creates a recurring run and returns its id.

        Args:
          path: the specification; this and what is not listed here is as in `submit`.
          cron: six fields, the first of them seconds.
        """
        experiment_id = self._experiment(experiment)

        def create() -> Any:
            return self._client.create_recurring_run(
                experiment_id,
                name,
                cron_expression=cron,
                # A run that outlasts its period delays the next; one missed is not made up for.
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
        doing = f'looking for run {run_id}'
        response = self._call(doing, lambda: self._client.get_run(run_id)).to_dict()
        if not response.get('run_id'):
            raise self._no_api()
        return runs.read(
            response, self._workflow(doing, run_id), datetime.datetime.now(datetime.timezone.utc)
        )

    def _workflow(self, doing: str, run_id: str) -> dict[str, Any]:
        """Argo's workflow; empty before there is one, and where the server no longer has the older
        API.
        """
        try:
            answer = json.loads(
                self._call(
                    doing, lambda: _get(self._client, '/apis/v1beta1/runs/{run_id}', run_id=run_id)
                )
            )
            return json.loads(answer.get('pipeline_runtime', {}).get('workflow_manifest') or '{}')
        except ServerError as error:
            if error.temporary:
                raise
        except ValueError:
            pass  # a page
        return {}

    def log(self, run_id: str, pod: str, namespace: str) -> str:
        """What the container of a pod wrote.

        The API server has the archived logs of pods that ended. It has the log of a running pod
        only where it serves several users: serving one, it asks Kubernetes for a pod of no
        namespace and is refused (2.15 - 2.17, apiserver/resource/resource_manager.go: ReadLog).
        The user interface has that log too, and --host may be its address.
        """
        doing = f'reading the log of {pod}'
        try:
            return self._log(
                doing,
                '/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log',
                run_id=run_id,
                node_id=pod,
            )
        except ServerError as error:
            if error.temporary:
                raise
            query = {'podname': pod, 'runid': run_id, 'podnamespace': namespace}
            with contextlib.suppress(ServerError):
                return self._log(doing, '/k8s/pod/logs?' + urllib.parse.urlencode(query))
            raise

    def _log(self, doing: str, path: str, **parameters: str) -> str:
        text = self._call(doing, lambda: _get(self._client, path, **parameters)).decode(
            errors='replace'
        )
        if text[:15].lower().startswith(('<!doctype html', '<html')):
            raise self._no_api()
        # The API server has answered "200 OK" before it looks for the log, and puts what went wrong
        # where the log would be.
        start = text.rfind('{"error_message":')
        if start >= 0:
            with contextlib.suppress(ValueError):
                raise ServerError(f'{doing}: {json.loads(text[start:])["error_message"]}')
        return text

    def cancel(self, run_id: str) -> None:
        """Cancels a run; finished steps stay in the cache."""
        self._call(f'cancelling run {run_id}', lambda: self._client.terminate_run(run_id))

    def _experiment(self, name: str) -> str:
        namespace = self._connection.namespace
        # kfp looks for it first.
        experiment = self._call(
            f'looking for experiment {name!r}',
            lambda: self._client.create_experiment(name, namespace=namespace),
        )
        return self._id(experiment, 'experiment_id')

    def _id(self, answer: Any, name: str) -> str:
        if not (value := getattr(answer, name, None)):
            raise self._no_api()
        return value

    def _no_api(self) -> ServerError:
        return server_errors.no_api(self._connection.host)

    def _call(self, doing: str, ask: Callable[[], _T]) -> _T:
        try:
            return self._quietly(ask)
        except Exception as error:
            if getattr(error, 'status', None) == 401:
                # What gave the right an hour ago may have run out: everything once more, from the
                # token on.
                self._client = self._connect()
                with server_errors.explained(doing, self._connection):
                    return self._quietly(ask)
            raise server_errors.explain(error, doing, self._connection) from error

    def _connect(self) -> Any:
        with server_errors.explained('connecting', self._connection):
            client = self._quietly(lambda: _make(self._connection))
            # A login page would answer too.
            answer = self._quietly(lambda: _get_healthz(client))
        if not isinstance(answer, dict):
            raise self._no_api()
        self.version = str(answer.get('tag_name') or '')
        return client

    @staticmethod
    def _quietly(ask: Callable[[], _T]) -> _T:
        """kfp prints links and warns of its version; its own connections wait for ever."""
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT_S)
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter('ignore')
                return ask()
        finally:
            socket.setdefaulttimeout(before)


def _get(client: Any, path: str, **parameters: str) -> bytes:
    """An address of the API server that kfp's client has no method for."""
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
            f'{connection.ca_file}: no such file; --ca-file takes certificates in PEM form'
        )
    options: dict[str, Any] = {
        'host': connection.host,
        'client_id': connection.iap_client_id,
        'ssl_ca_cert': connection.ca_file,
    }
    if connection.namespace:
        options['namespace'] = connection.namespace
    if connection.token_file:
        # Read at each request: a token of a pod lives for an hour.
        options['credentials'] = set_volume_credentials.ServiceAccountTokenVolumeCredentials(
            connection.token_file
        )
    return Client(**options)


def host(option: str | None) -> str:
    """Returns the address of the API server from --host or KF_PIPELINES_ENDPOINT.

    Raises:
      ServerError: neither is an address.
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
