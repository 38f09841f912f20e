"""A model server with several addresses, as TF Serving's pods have."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from serving.api.client import ModelServer
from serving.api.methods import METHODS


def _start(name: str, counts: Counter[str]) -> tuple[grpc.Server, int]:
    """A server that only counts its requests for the states of versions."""

    def answer(request: Any, context: Any) -> Any:
        counts[name] += 1
        return method.response()

    method = METHODS['GetModelStatus']
    service, rpc = method.path.strip('/').split('/')
    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=method.request.FromString,
        response_serializer=method.response.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {rpc: handler}),)
    )
    port = server.add_insecure_port('127.0.0.1:0')
    server.start()
    return server, port


def test_each_address_gets_its_share_and_one_that_is_gone_gets_none() -> None:
    counts: Counter[str] = Counter()
    first, second = _start('first', counts), _start('second', counts)
    client = ModelServer(f'ipv4:127.0.0.1:{first[1]},127.0.0.1:{second[1]}')
    try:
        for _ in range(20):
            client.versions('m')
        assert counts['first'] >= 5 and counts['second'] >= 5
        first[0].stop(None).wait()
        counts.clear()
        for _ in range(5):
            client.versions('m')
        assert counts == {'second': 5}
    finally:
        client.close()
        second[0].stop(None)
