"""The messages of TF Serving's gRPC API that this project uses.

The package tensorflow-serving-api has the same messages, but its modules import TensorFlow, which
takes 600 MB of an image and seconds of a start, and two of them fail under protobuf 6. So the
fields are declared here, with the names and numbers of TF Serving's own .proto files
(https://github.com/tensorflow/serving, tensorflow_serving/apis and config; TensorFlow's
framework/tensor.proto and protobuf/meta_graph.proto). Fields that are not declared pass through
unread. The descriptor pool is private, so that TensorFlow can be in the same process.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    'string': _FIELD.TYPE_STRING,
    'bytes': _FIELD.TYPE_BYTES,
    'bool': _FIELD.TYPE_BOOL,
    'int32': _FIELD.TYPE_INT32,
    'uint32': _FIELD.TYPE_UINT32,
    'int64': _FIELD.TYPE_INT64,
    'float': _FIELD.TYPE_FLOAT,
    'double': _FIELD.TYPE_DOUBLE,
}
_TENSORFLOW, _SERVING = 'tensorflow', 'tensorflow.serving'
# Message -> its fields as 'TYPE NAME NUMBER'. `map K,V` and `repeated T` are as in a .proto file;
# a type with a dot is a message.
_MESSAGES: dict[str, dict[str, tuple[str, ...]]] = {
    _TENSORFLOW: {
        'TensorShapeProto.Dim': ('int64 size 1', 'string name 2'),
        'TensorShapeProto': (
            'repeated .tensorflow.TensorShapeProto.Dim dim 2',
            'bool unknown_rank 3',
        ),
        'TensorProto': (
            'int32 dtype 1',
            '.tensorflow.TensorShapeProto tensor_shape 2',
            'int32 version_number 3',
            'bytes tensor_content 4',
            'repeated float float_val 5',
            'repeated double double_val 6',
            'repeated int32 int_val 7',
            'repeated bytes string_val 8',
            'repeated int64 int64_val 10',
        ),
        'TensorInfo': (
            'string name 1',
            'int32 dtype 2',
            '.tensorflow.TensorShapeProto tensor_shape 3',
        ),
        'SignatureDef': (
            'map string,.tensorflow.TensorInfo inputs 1',
            'map string,.tensorflow.TensorInfo outputs 2',
            'string method_name 3',
        ),
    },
    _SERVING: {
        'Int64Value': ('int64 value 1',),
        'Any': ('string type_url 1', 'bytes value 2'),
        'ModelSpec': (
            'string name 1',
            '.tensorflow.serving.Int64Value version 2',
            'string signature_name 3',
            'string version_label 4',
        ),
        'PredictRequest': (
            '.tensorflow.serving.ModelSpec model_spec 1',
            'map string,.tensorflow.TensorProto inputs 2',
            'repeated string output_filter 3',
        ),
        'PredictResponse': (
            'map string,.tensorflow.TensorProto outputs 1',
            '.tensorflow.serving.ModelSpec model_spec 2',
        ),
        'SignatureDefMap': ('map string,.tensorflow.SignatureDef signature_def 1',),
        'GetModelMetadataRequest': (
            '.tensorflow.serving.ModelSpec model_spec 1',
            'repeated string metadata_field 2',
        ),
        'GetModelMetadataResponse': (
            '.tensorflow.serving.ModelSpec model_spec 1',
            'map string,.tensorflow.serving.Any metadata 2',
        ),
        'StatusProto': ('int32 error_code 1', 'string error_message 2'),
        'GetModelStatusRequest': ('.tensorflow.serving.ModelSpec model_spec 1',),
        'ModelVersionStatus': (
            'int64 version 1',
            'int32 state 2',
            '.tensorflow.serving.StatusProto status 3',
        ),
        'GetModelStatusResponse': (
            'repeated .tensorflow.serving.ModelVersionStatus model_version_status 1',
        ),
        'Latest': ('uint32 num_versions 1',),
        'All': (),
        'Specific': ('repeated int64 versions 1',),
        'ServableVersionPolicy': (
            '.tensorflow.serving.Latest latest 100',
            '.tensorflow.serving.All all 101',
            '.tensorflow.serving.Specific specific 102',
        ),
        'ModelConfig': (
            'string name 1',
            'string base_path 2',
            'string model_platform 4',
            '.tensorflow.serving.ServableVersionPolicy model_version_policy 7',
            'map string,int64 version_labels 8',
        ),
        'ModelConfigList': ('repeated .tensorflow.serving.ModelConfig config 1',),
        'ModelServerConfig': ('.tensorflow.serving.ModelConfigList model_config_list 1',),
        'ReloadConfigRequest': ('.tensorflow.serving.ModelServerConfig config 1',),
        'ReloadConfigResponse': ('.tensorflow.serving.StatusProto status 1',),
    },
}


def _camel(name: str) -> str:
    return ''.join(part.capitalize() for part in name.split('_'))


def _set_type(field: Any, kind: str) -> None:
    if kind.startswith('.'):
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, kind
    else:
        field.type = _SCALARS[kind]


def _declare(file: Any, package: str, name: str, fields: tuple[str, ...]) -> None:
    parent, _, own = name.rpartition('.')
    if parent:
        message = next(m for m in file.message_type if m.name == parent).nested_type.add(name=own)
    else:
        message = next((m for m in file.message_type if m.name == name), None)
        message = message or file.message_type.add(name=name)
    for text in fields:
        *kinds, field_name, number = text.split()
        field = message.field.add(name=field_name, number=int(number), label=_FIELD.LABEL_OPTIONAL)
        if kinds[0] == 'map':
            entry = message.nested_type.add(name=f'{_camel(field_name)}Entry')
            entry.options.map_entry = True
            for part, kind, place in zip(
                ('key', 'value'), kinds[1].split(','), (1, 2), strict=True
            ):
                _set_type(
                    entry.field.add(name=part, number=place, label=_FIELD.LABEL_OPTIONAL), kind
                )
            field.label, kinds = _FIELD.LABEL_REPEATED, [f'.{package}.{name}.{entry.name}']
        elif kinds[0] == 'repeated':
            field.label = _FIELD.LABEL_REPEATED
        _set_type(field, kinds[-1])


def _classes() -> dict[str, Any]:
    """Name -> class of every message."""
    pool = descriptor_pool.DescriptorPool()
    classes = {}
    for package, messages in _MESSAGES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f'{package}.proto',
            package=package,
            syntax='proto3',
            dependency=[f'{_TENSORFLOW}.proto'] if package != _TENSORFLOW else [],
        )
        # A nested message needs its parent first.
        for name in messages:
            parent = name.rpartition('.')[0]
            if parent:
                file.message_type.add(name=parent)
        for name, fields in messages.items():
            _declare(file, package, name, fields)
        pool.AddSerializedFile(file.SerializeToString())
        for name in messages:
            descriptor = pool.FindMessageTypeByName(f'{package}.{name}')
            if hasattr(message_factory, 'GetMessageClass'):
                classes[name] = message_factory.GetMessageClass(descriptor)
            else:  # protobuf 3.20
                classes[name] = message_factory.MessageFactory(pool).GetPrototype(descriptor)
    return classes


CLASSES = _classes()
TensorProto: Any = CLASSES['TensorProto']
SignatureDefMap: Any = CLASSES['SignatureDefMap']
ModelSpec: Any = CLASSES['ModelSpec']
PredictRequest: Any = CLASSES['PredictRequest']
PredictResponse: Any = CLASSES['PredictResponse']
GetModelMetadataRequest: Any = CLASSES['GetModelMetadataRequest']
GetModelMetadataResponse: Any = CLASSES['GetModelMetadataResponse']
GetModelStatusRequest: Any = CLASSES['GetModelStatusRequest']
GetModelStatusResponse: Any = CLASSES['GetModelStatusResponse']
ModelServerConfig: Any = CLASSES['ModelServerConfig']
ReloadConfigRequest: Any = CLASSES['ReloadConfigRequest']
ReloadConfigResponse: Any = CLASSES['ReloadConfigResponse']

# ModelVersionStatus.state
START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50
STATE_NAMES = {
    START: 'START',
    LOADING: 'LOADING',
    AVAILABLE: 'AVAILABLE',
    UNLOADING: 'UNLOADING',
    END: 'END',
}
