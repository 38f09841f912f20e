"""Explains errors of Kubeflow's API server: the request, the response, and what to do.

Does not import kfp.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

# Part of the server's message -> advice. Each message is in the source of Kubeflow Pipelines 2.17.0
# (backend/src).
_ADVICE = (
    (
        'unknown template format',
        'write a new specification with cxr-triage compile, and submit that file',
    ),
    (
        'only supports schema version',
        'write a new specification with cxr-triage compile, and submit that file',
    ),
    ('pipeline spec', 'write a new specification with cxr-triage compile, and submit that file'),
    ('invalid dependency', 'a step has a name that Argo refuses: letters, digits and dashes only'),
    (
        'executor not implemented',
        'Kubeflow cannot run a step of this kind: containers and importers only',
    ),
    (
        'is not optional',
        'the specification has a parameter without a default: compile again',
    ),
    (
        'are not required by pipeline',
        'another version of this project wrote the specification: compile again',
    ),
    ('multi-user mode', 'this Kubeflow serves several users: give your namespace with --namespace'),
    ('Row not found', 'the run has already ended or is being cancelled'),
)


class ServerError(RuntimeError):
    """The API server cannot be reached, refuses a request, or sends an unusable response.

    Attributes:
      temporary: whether the same request can succeed later.
    """

    def __init__(self, text: str, temporary: bool = False):
        super().__init__(text)
        self.temporary = temporary


@contextlib.contextmanager
def explained(action: str, connection: Any) -> Iterator[None]:
    """Turns any error of kfp into a ServerError."""
    try:
        yield
    except Exception as error:
        raise explain(error, action, connection) from error


def not_an_api_server(host: str) -> ServerError:
    """Makes the error for a host that answers but is not an API server, e.g. a login page."""
    return ServerError(
        f'{host} answers, but it is not an API server of Kubeflow Pipelines: expected JSON below '
        f'{host}/apis/v2beta1. '
        'Check --host; if the server needs a login, give --token-file or --iap-client-id'
    )


def explain(error: BaseException, action: str, connection: Any) -> ServerError:
    """Explains an error of kfp, of the HTTP library or of the system.

    Args:
      error: the error that was raised.
      action: the attempted action, e.g. 'submitting demo.yaml'.
      connection: a `pipeline.kubeflow.client.Connection`.
    """
    if isinstance(error, ServerError):
        return error
    status = getattr(error, 'status', None)
    if status:
        return _status_error(int(status), _message(error), action, connection)
    if isinstance(error, OSError) and error.filename:
        return ServerError(f'{error.filename}: cannot be read ({error.strerror})')
    reason = _innermost(error)
    text = str(reason).strip() or type(reason).__name__
    if 'CERTIFICATE' in text.upper():
        return ServerError(
            f'{action}: the certificate of {connection.host} is not trusted ({text}). Give the '
            'certificate that signed it with --ca-file'
        )
    if isinstance(reason, OSError) or type(reason).__module__.startswith('urllib3'):
        return ServerError(
            f'{action}: no connection to {connection.host} ({text}). Check that the address is '
            'right and that the port-forward or VPN is up',
            True,
        )
    return ServerError(f'{action}: {type(error).__name__}: {text}')


def _status_error(status: int, message: str, action: str, connection: Any) -> ServerError:
    login = f'as {connection.token_file}' if connection.token_file else 'without a token'
    if connection.iap_client_id:
        login = f'through the proxy of client {connection.iap_client_id}'
    if status == 401:
        return ServerError(
            f'{action}: {connection.host} does not accept the login '
            f'({login}){f": {message}" if message else ""}. '
            'Give a valid token with --token-file, or --iap-client-id'
        )
    if status == 403:
        return ServerError(
            f'{action}: {connection.host} accepts the login ({login}) but does not allow '
            f'this{f": {message}" if message else ""}. '
            'Ask for rights on Kubeflow Pipelines in that namespace, or give another one with '
            '--namespace'
        )
    if status == 404:
        reason = 'nothing has that id' if message else 'there is nothing at that address'
        return ServerError(
            f'{action}: {connection.host}: {reason}{f" ({message})" if message else ""}. Check the '
            'id and --host: a run is known only to its own server, until it is deleted'
        )
    advice = next((advice for text, advice in _ADVICE if text in message), '')
    if advice or status < 500:
        return ServerError(
            f'{action}: {connection.host} refused it (HTTP {status}): {message}'
            + (f'\n{advice}' if advice else '')
        )
    text = f'{action}: {connection.host} failed (HTTP {status}): {message or "no reason given"}'
    return ServerError(text, temporary=status in (502, 503, 504))


def _message(error: BaseException) -> str:
    """The server's message, without the layers around it."""
    body = getattr(error, 'body', None) or ''
    try:
        content = json.loads(body)
    except ValueError:
        return ''  # a page of a proxy
    if not isinstance(content, dict):
        return ''
    message = str(content.get('message') or content.get('error') or '')
    # The innermost layer, if it has a useful text.
    inner = next(
        (
            str(detail.get('message') or '')
            for detail in content.get('details') or ()
            if isinstance(detail, dict)
        ),
        '',
    )
    text = (
        inner if inner and 'Internal' not in inner else message.rpartition('Error: ')[2]
    ).strip()
    # For an unexpected error the server also sends the stack trace.
    return (text.splitlines()[0] if '\n\t' in text else text).removesuffix('.')


def _innermost(error: BaseException) -> BaseException:
    """The error at the start of a chain, e.g. of the failed connection."""
    while True:
        inner = getattr(error, 'reason', None)
        inner = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
        if inner is None:
            return error
        error = inner
