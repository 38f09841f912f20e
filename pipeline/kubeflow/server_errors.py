"""Explains errors of Kubeflow's API server: the request, the answer, and what to do.

No kfp here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

# What the server's text holds -> what to do about it. Each was seen in Kubeflow Pipelines 2.17.0
# (backend/src).
_ADVICE = (
    (
        'unknown template format',
        'write the specification anew with cxr-triage compile, and give that file',
    ),
    (
        'only supports schema version',
        'write the specification anew with cxr-triage compile, and give that file',
    ),
    ('pipeline spec', 'write the specification anew with cxr-triage compile, and give that file'),
    ('invalid dependency', 'a step has a name that Argo refuses: letters, digits and dashes only'),
    (
        'executor not implemented',
        'a step is of a kind that Kubeflow does not run: containers and importers only',
    ),
    (
        'is not optional',
        'the specification asks for a parameter that has no default: compile again',
    ),
    (
        'are not required by pipeline',
        'the specification is of another version of this project: compile again',
    ),
    ('multi-user mode', 'this Kubeflow serves several users: name yours with --namespace'),
    ('Row not found', 'the run has ended, or is being cancelled already'),
)


class ServerError(RuntimeError):
    """An API server that cannot be reached, refuses, or answers what cannot be used.

    Attributes:
      temporary: whether the same question may be answered later.
    """

    def __init__(self, text: str, temporary: bool = False):
        super().__init__(text)
        self.temporary = temporary


@contextlib.contextmanager
def explained(doing: str, connection: Any) -> Iterator[None]:
    """Turns whatever kfp raises into a ServerError."""
    try:
        yield
    except Exception as error:
        raise explain(error, doing, connection) from error


def no_api(host: str) -> ServerError:
    """Something answers, and it is no API server: a login page, a user interface, another
    service.
    """
    return ServerError(
        f'{host} answers, but not as the API server of Kubeflow Pipelines does: expected JSON '
        f'below {host}/apis/v2beta1. '
        'Check --host; where a login stands before it, give --token-file or --iap-client-id'
    )


def explain(error: BaseException, doing: str, connection: Any) -> ServerError:
    """Explains an error of kfp, of the HTTP library or of the system.

    Args:
      error: what was raised.
      doing: what was tried, e.g. 'submitting demo.yaml'.
      connection: `pipeline.kubeflow.client.Connection`.
    """
    if isinstance(error, ServerError):
        return error
    status = getattr(error, 'status', None)
    if status:
        return _of_status(int(status), _message(error), doing, connection)
    if isinstance(error, OSError) and error.filename:
        return ServerError(f'{error.filename}: cannot be read ({error.strerror})')
    reason = _innermost(error)
    text = str(reason).strip() or type(reason).__name__
    if 'CERTIFICATE' in text.upper():
        return ServerError(
            f'{doing}: the certificate of {connection.host} is not trusted ({text}). Give the one '
            'that signed it with --ca-file'
        )
    if isinstance(reason, OSError) or type(reason).__module__.startswith('urllib3'):
        return ServerError(
            f'{doing}: no connection to {connection.host} ({text}). Is the address right, and the '
            'port-forward or VPN still up?',
            True,
        )
    return ServerError(f'{doing}: {type(error).__name__}: {text}')


def _of_status(status: int, message: str, doing: str, connection: Any) -> ServerError:
    who = f'as {connection.token_file}' if connection.token_file else 'without a token'
    if connection.iap_client_id:
        who = f'through the proxy of client {connection.iap_client_id}'
    if status == 401:
        return ServerError(
            f'{doing}: {connection.host} does not know who asks '
            f'({who}){f": {message}" if message else ""}. '
            'Give a valid token with --token-file, or --iap-client-id'
        )
    if status == 403:
        return ServerError(
            f'{doing}: {connection.host} knows who asks ({who}) and does not allow '
            f'it{f": {message}" if message else ""}. '
            'Ask for the rights on Kubeflow Pipelines in that namespace, or name another with '
            '--namespace'
        )
    if status == 404:
        reason = 'it has none by that name' if message else 'there is nothing at that address'
        return ServerError(
            f'{doing}: {connection.host}: {reason}{f" ({message})" if message else ""}. Check the '
            'id and --host: the runs of another server '
            'are not known here, and a deleted one is gone'
        )
    advice = next((text for words, text in _ADVICE if words in message), '')
    if advice or status < 500:
        return ServerError(
            f'{doing}: {connection.host} refused it (HTTP {status}): {message}'
            + (f'\n{advice}' if advice else '')
        )
    text = f'{doing}: {connection.host} failed (HTTP {status}): {message or "no reason given"}'
    return ServerError(text, temporary=status in (502, 503, 504))


def _message(error: BaseException) -> str:
    """What the server said, without the layers that it wraps it in."""
    body = getattr(error, 'body', None) or ''
    try:
        content = json.loads(body)
    except ValueError:
        return ''  # a page of a proxy
    if not isinstance(content, dict):
        return ''
    message = str(content.get('message') or content.get('error') or '')
    # The innermost layer, where it says something.
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
    # Of an error that it did not expect the server sends the stack, too.
    return (text.splitlines()[0] if '\n\t' in text else text).removesuffix('.')


def _innermost(error: BaseException) -> BaseException:
    """Down to where no connection was made."""
    while True:
        inner = getattr(error, 'reason', None)
        inner = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
        if inner is None:
            return error
        error = inner
