"""The gRPC methods of TF Serving that the embedded server answers."""

from __future__ import annotations

from typing import Any

import grpc
import tensorflow as tf

from serving.api import messages
from serving.api.methods import METHODS, Method
from serving.api.tensors import TensorError, from_array, to_array
from serving.model_server.models import (
    ConfigurationError,
    Models,
    NotServedError,
    UnknownLabelError,
)

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_TYPE_URL = 'type.googleapis.com/tensorflow.serving.SignatureDefMap'


class Service:
    """Answers requests from the served models."""

    def __init__(self, models: Models):
        self._models = models

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """The handlers to add to a gRPC server."""
        answers = {
            'Predict': self.predict,
            'GetModelMetadata': self.metadata,
            'GetModelStatus': self.status,
            'HandleReloadConfigRequest': self.reload,
        }
        services: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
        for method in METHODS.values():
            services.setdefault(method.service, {})[method.name] = _handler(
                method, answers[method.name]
            )
        return [
            grpc.method_handlers_generic_handler(service, handlers)
            for service, handlers in services.items()
        ]

    def predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs a signature of a version."""
        number, version = self._models.version(request.model_spec)
        signature = request.model_spec.signature_name or 'serving_default'
        definition = version.signatures.get(signature)
        if definition is None:
            names = ', '.join(sorted(version.signatures))
            raise _RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'no signature {signature!r}; there are: {names}',
            )
        if set(request.inputs) != set(definition.inputs):
            raise _RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f'{signature} takes {sorted(definition.inputs)}, not {sorted(request.inputs)}',
            )
        inputs = {name: to_array(tensor) for name, tensor in request.inputs.items()}
        if any(value.ndim == 0 or value.shape[0] == 0 for value in inputs.values()):
            raise _RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT, f'{signature} takes a batch of inputs'
            )
        outputs = version.submit(signature, inputs).result()
        response = messages.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = number
        response.model_spec.signature_name = signature
        for name in request.output_filter or outputs:
            if name not in outputs:
                raise _RefusedError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f'{signature} has no output {name!r}; there are: {", ".join(sorted(outputs))}',
                )
            response.outputs[name].CopyFrom(from_array(outputs[name]))
        return response

    def metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The signatures of a version."""
        if list(request.metadata_field) != ['signature_def']:
            raise _RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f'metadata_field is {list(request.metadata_field)}, expected signature_def',
            )
        number, version = self._models.version(request.model_spec)
        signatures = messages.SignatureDefMap()
        for name, definition in version.signatures.items():
            signatures.signature_def[name].MergeFromString(definition.SerializeToString())
        response = messages.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = number
        field = response.metadata['signature_def']
        field.type_url, field.value = _TYPE_URL, signatures.SerializeToString()
        return response

    def status(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The state of each version of a model."""
        states = self._models.model(request.model_spec.name).states()
        response = messages.GetModelStatusResponse()
        for number, state in sorted(states.items(), reverse=True):
            if (
                request.model_spec.HasField('version')
                and number != request.model_spec.version.value
            ):
                continue
            entry = response.model_version_status.add(version=number, state=state.state)
            if state.error:
                entry.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                entry.status.error_message = state.error
        return response

    def reload(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Serves another configuration."""
        response = messages.ReloadConfigResponse()
        try:
            self._models.reload(request.config)
        except ConfigurationError as error:
            response.status.error_code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
            response.status.error_message = str(error)
        else:
            response.status.error_code = 0
        return response


class _RefusedError(Exception):
    def __init__(self, code: grpc.StatusCode, text: str):
        super().__init__(text)
        self.code = code


def _handler(method: Method, answer: Any) -> grpc.RpcMethodHandler:
    def guarded(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return answer(request, context)
        except _RefusedError as error:
            context.abort(error.code, str(error))
        except NotServedError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error.args[0]))
        except UnknownLabelError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error.args[0]))
        except TensorError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except tf.errors.OpError as error:
            context.abort(_CODES.get(error.error_code, grpc.StatusCode.UNKNOWN), error.message)

    return grpc.unary_unary_rpc_method_handler(
        guarded,
        request_deserializer=method.request.FromString,
        response_serializer=method.response.SerializeToString,
    )
