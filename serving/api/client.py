"""A client of TF Serving's gRPC API, for the real server and the embedded one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from serving.api import messages
from serving.api.methods import METHODS, UNKNOWN_LABEL
from serving.api.tensors import from_strings, to_array

_MAX_MESSAGE_BYTES = 256 << 20
# Until versions are loaded, beside the requests that go on.
_LOADING_S = 120.0
# What a server that starts, stops or is overloaded answers.
_TEMPORARY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)
# What the embedded server says, and TF Serving.
_NO_SIGNATURE = re.compile('no signature|.*signature key .* not found', re.IGNORECASE)


class ModelServerError(RuntimeError):
    """The model server did not answer; the text says what it said.

    `is_temporary` says whether the same request may succeed later; `is_missing` whether the model,
    version or label is not served; `has_no_signature` whether the version lacks the signature.
    """

    def __init__(
        self,
        text: str,
        is_temporary: bool = False,
        is_missing: bool = False,
        has_no_signature: bool = False,
    ):
        super().__init__(text)
        self.is_temporary, self.is_missing = is_temporary, is_missing
        self.has_no_signature = has_no_signature


@dataclass(frozen=True)
class Prediction:
    """Outputs by name, each [batch, …], and the version that gave them."""

    outputs: dict[str, np.ndarray]
    version: int


@dataclass(frozen=True)
class VersionStatus:
    """The state of a version, a name such as 'AVAILABLE', and why it could not be loaded."""

    version: int
    state: str
    error: str = ''


class ModelServer:
    """A connection to a model server. Threads may share it.

    Args:
      address: HOST:PORT.
      timeout_s: seconds that a request may take.

    Every method raises ModelServerError.
    """

    def __init__(self, address: str, timeout_s: float = 30.0):
        self.address, self._timeout_s = address, timeout_s
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ('grpc.max_receive_message_length', _MAX_MESSAGE_BYTES),
                ('grpc.max_send_message_length', _MAX_MESSAGE_BYTES),
                # A name with several addresses: each server gets its share.
                ('grpc.lb_policy_name', 'round_robin'),
                # A server that comes back is found again within seconds.
                ('grpc.initial_reconnect_backoff_ms', 200),
                ('grpc.max_reconnect_backoff_ms', 2000),
                ('grpc.enable_http_proxy', 0),
            ],
        )
        self._call = {
            name: self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            for name, method in METHODS.items()
        }

    def predict(
        self,
        model: str,
        signature: str,
        inputs: Mapping[str, Sequence[bytes]],
        version: int | None = None,
        label: str = '',
        outputs: Sequence[str] = (),
    ) -> Prediction:
        """Runs a signature.

        Args:
          model: its name.
          signature: e.g. `serve_image`.
          inputs: name -> a batch of strings.
          version: which one; None for that of the label, or the newest.
          label: e.g. 'stable'; '' for none.
          outputs: the outputs to send; empty for all.
        """
        request = messages.PredictRequest(output_filter=outputs)
        request.model_spec.CopyFrom(_spec(model, version, label, signature))
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(from_strings(values))
        response = self._request('Predict', request)
        return Prediction(
            {name: to_array(tensor) for name, tensor in response.outputs.items()},
            response.model_spec.version.value,
        )

    def versions(self, model: str, timeout_s: float | None = None) -> list[VersionStatus]:
        """The versions that the server knows, newest first."""
        request = messages.GetModelStatusRequest(model_spec=_spec(model))
        response = self._request('GetModelStatus', request, timeout_s)
        return [
            VersionStatus(
                entry.version,
                messages.STATE_NAMES.get(entry.state, 'UNKNOWN'),
                entry.status.error_message,
            )
            for entry in response.model_version_status
        ]

    def signatures(self, model: str, version: int | None = None, label: str = '') -> dict[str, Any]:
        """Signature name -> SignatureDef message of a version."""
        request = messages.GetModelMetadataRequest(
            model_spec=_spec(model, version, label), metadata_field=['signature_def']
        )
        response = self._request('GetModelMetadata', request)
        content = response.metadata['signature_def'].value
        return dict(messages.SignatureDefMap.FromString(content).signature_def)

    def reload(self, config: Any) -> None:
        """Has the server serve a ModelServerConfig message.

        TF Serving answers before it has loaded the versions that are new.
        """
        request = messages.ReloadConfigRequest(config=config)
        response = self._request('HandleReloadConfigRequest', request, _LOADING_S)
        if response.status.error_code:
            raise ModelServerError(f'{self.address}: {response.status.error_message}')

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def _request(self, name: str, request: Any, timeout_s: float | None = None) -> Any:
        try:
            return self._call[name](request, timeout=timeout_s or self._timeout_s)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ''
            raise ModelServerError(
                f'{self.address}: {code.name}: {details}',
                is_temporary=code in _TEMPORARY,
                is_missing=code == grpc.StatusCode.NOT_FOUND or details.startswith(UNKNOWN_LABEL),
                has_no_signature=_NO_SIGNATURE.match(details) is not None,
            ) from None


def _spec(model: str, version: int | None = None, label: str = '', signature: str = '') -> Any:
    spec = messages.ModelSpec(name=model, signature_name=signature, version_label=label)
    if version is not None:
        spec.version.value = version
    return spec
