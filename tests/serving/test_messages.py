"""The declared messages have the fields of TF Serving's own."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import FieldDescriptor

from serving.api import messages

_OFFICIAL = {
    'TensorShapeProto': 'tensorflow.core.framework.tensor_shape_pb2',
    'TensorProto': 'tensorflow.core.framework.tensor_pb2',
    'TensorInfo': 'tensorflow.core.protobuf.meta_graph_pb2',
    'SignatureDef': 'tensorflow.core.protobuf.meta_graph_pb2',
    'ModelSpec': 'tensorflow_serving.apis.model_pb2',
    'PredictRequest': 'tensorflow_serving.apis.predict_pb2',
    'PredictResponse': 'tensorflow_serving.apis.predict_pb2',
    'SignatureDefMap': 'tensorflow_serving.apis.get_model_metadata_pb2',
    'GetModelMetadataRequest': 'tensorflow_serving.apis.get_model_metadata_pb2',
    'GetModelMetadataResponse': 'tensorflow_serving.apis.get_model_metadata_pb2',
    'StatusProto': 'tensorflow_serving.util.status_pb2',
    'GetModelStatusRequest': 'tensorflow_serving.apis.get_model_status_pb2',
    'ModelVersionStatus': 'tensorflow_serving.apis.get_model_status_pb2',
    'GetModelStatusResponse': 'tensorflow_serving.apis.get_model_status_pb2',
    'ModelConfig': 'tensorflow_serving.config.model_server_config_pb2',
    'ModelConfigList': 'tensorflow_serving.config.model_server_config_pb2',
    'ModelServerConfig': 'tensorflow_serving.config.model_server_config_pb2',
    'ReloadConfigRequest': 'tensorflow_serving.apis.model_management_pb2',
    'ReloadConfigResponse': 'tensorflow_serving.apis.model_management_pb2',
}


def _fields(descriptor) -> dict[str, tuple]:
    """Name -> number, whether repeated, and type; an enum is an int32 on the wire."""
    kinds = {FieldDescriptor.TYPE_ENUM: FieldDescriptor.TYPE_INT32}
    return {
        field.name: (
            field.number,
            field.label == FieldDescriptor.LABEL_REPEATED,
            kinds.get(field.type, field.type),
        )
        for field in descriptor.fields
    }


@pytest.mark.parametrize('name', _OFFICIAL)
def test_fields_are_those_of_tf_serving(name: str) -> None:
    module = pytest.importorskip(_OFFICIAL[name], exc_type=Exception)
    declared = _fields(messages.CLASSES[name].DESCRIPTOR)
    official = _fields(getattr(module, name).DESCRIPTOR)
    assert declared
    assert declared == {field: official.get(field) for field in declared}
