"""Servers that take reports by HTTP: a FHIR server that validates them, and a webhook."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fhir.resources.R4B import bundle, diagnosticreport, observation

_FHIR = 'application/fhir+json'
MODELS = {
    'DiagnosticReport': diagnosticreport.DiagnosticReport,
    'Observation': observation.Observation,
}


class Receiver:
    """What a server got.

    Attributes:
      port: where it listens on this machine.
      first: how it answers the first requests: status, headers and body; then it works.
      lost_answers: after them, how many requests it takes whose answers do not arrive.
      attempts: how many requests there were.
      problems: why it has refused requests by itself.
    """

    def __init__(self) -> None:
        self.port = 0
        self.first: list[tuple[int, dict[str, str], bytes]] = []
        self.lost_answers = 0
        self.attempts = 0
        self.problems: list[str] = []

    def answer(self, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The answer to a request."""
        self.attempts += 1
        if self.first:
            return self.first.pop(0)
        taken = self.take(headers, body)
        if not self.lost_answers:
            return taken
        self.lost_answers -= 1
        return 504, {}, b''

    def take(self, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The answer of a server that works."""
        raise NotImplementedError


class FhirServer(Receiver):
    """Takes transactions of PUT, as R4 describes them, from one user.

    Attributes:
      resources: place -> each version of the resource.
    """

    user, password = 'cxr', 'p@ss'

    def __init__(self) -> None:
        super().__init__()
        self.resources: dict[str, list[dict[str, Any]]] = {}

    @property
    def url(self) -> str:
        """The target that the gateway is given."""
        return f'fhir+http://{self.user}:p%40ss@127.0.0.1:{self.port}/fhir'

    def take(self, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Stores the resources of a transaction, or nothing."""
        credentials = base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()
        if headers['Authorization'] != f'Basic {credentials}':
            return 401, {}, b''
        try:
            entries = self._entries(headers, json.loads(body))
        except (AssertionError, ValueError) as error:
            self.problems.append(str(error))
            return 422, {'Content-Type': _FHIR}, b'{"resourceType": "OperationOutcome"}'
        rows = []
        for place, resource in entries.items():
            versions = self.resources.setdefault(place, [])
            versions.append(resource)
            status = '201 Created' if len(versions) == 1 else '200 OK'
            rows.append({'response': {'status': status}})
        done = {'resourceType': 'Bundle', 'type': 'transaction-response', 'entry': rows}
        return 200, {'Content-Type': _FHIR}, json.dumps(done).encode()

    def _entries(self, headers: Any, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        assert headers['Content-Type'] == _FHIR
        assert bundle.Bundle.model_validate(content).type == 'transaction'
        entries = {}
        for entry in content['entry']:
            resource = entry['resource']
            place = f'{resource["resourceType"]}/{resource["id"]}'
            assert entry['request'] == {'method': 'PUT', 'url': place}
            assert entry['fullUrl'] == f'http://127.0.0.1:{self.port}/fhir/{place}'
            MODELS[resource['resourceType']].model_validate(resource)
            entries[place] = resource
        for reference in references(content):
            assert reference in entries or reference in self.resources, reference
        return entries


class Webhook(Receiver):
    """Takes messages with a good signature by the specification Standard Webhooks, each once.

    Attributes:
      messages: id -> the JSON.
    """

    key = bytes(range(32))

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, dict[str, Any]] = {}

    @property
    def url(self) -> str:
        """The target that the gateway is given."""
        secret = base64.b64encode(self.key).decode().replace('/', '%2F').replace('+', '%2B')
        return f'webhook+http://:whsec_{secret}@127.0.0.1:{self.port}/hook/'

    def take(self, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Keeps a message."""
        id, at = headers['webhook-id'], headers['webhook-timestamp']
        signed = hmac.new(self.key, f'{id}.{at}.'.encode() + body, hashlib.sha256).digest()
        if headers['webhook-signature'] != f'v1,{base64.b64encode(signed).decode()}':
            self.problems.append('signature')
            return 401, {}, b''
        self.messages[id] = json.loads(body)
        return 204, {}, b''


def references(content: Any) -> list[str]:
    """The literal references in some JSON, at any depth."""
    if isinstance(content, list):
        return [found for item in content for found in references(item)]
    if not isinstance(content, dict):
        return []
    here = [content['reference']] if isinstance(content.get('reference'), str) else []
    return here + references(list(content.values()))


@contextlib.contextmanager
def running(receiver: Receiver) -> Iterator[None]:
    """Serves on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answers as the receiver does."""
            body = self.rfile.read(int(self.headers['Content-Length']))
            self._send(*receiver.answer(self.headers, body))

        def do_GET(self) -> None:
            """Where a redirect leads to; nothing may come here."""
            receiver.problems.append('GET')
            self._send(200, {'Content-Type': _FHIR}, b'{}')

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
