"""The message tf.train.Example without TensorFlow, whose import takes several seconds.

It is declared from its wire format (tensorflow/core/example/{example,feature}.proto) in its own
descriptor pool, so that it does not collide with TensorFlow's declaration. Serialized bytes are the
same.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = 'tensorflow'


def _example_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name='records/example.proto', package=_PACKAGE, syntax='proto3'
    )
    kinds = (
        ('bytes_list', 'BytesList', _Field.TYPE_BYTES),
        ('float_list', 'FloatList', _Field.TYPE_FLOAT),
        ('int64_list', 'Int64List', _Field.TYPE_INT64),
    )
    for _, name, value_type in kinds:
        _add(file.message_type.add(name=name), 'value', 1, value_type, repeated=True)
    feature = file.message_type.add(name='Feature')
    feature.oneof_decl.add(name='kind')
    for number, (name, message, _) in enumerate(kinds, start=1):
        _add(feature, name, number, _Field.TYPE_MESSAGE, of=message).oneof_index = 0
    features = file.message_type.add(name='Features')
    # On the wire, `map<string, Feature> feature = 1` is a repeated message of key and value.
    pair = features.nested_type.add(name='FeatureEntry')
    pair.options.map_entry = True
    _add(pair, 'key', 1, _Field.TYPE_STRING)
    _add(pair, 'value', 2, _Field.TYPE_MESSAGE, of='Feature')
    _add(features, 'feature', 1, _Field.TYPE_MESSAGE, repeated=True, of='Features.FeatureEntry')
    _add(file.message_type.add(name='Example'), 'features', 1, _Field.TYPE_MESSAGE, of='Features')
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f'{_PACKAGE}.Example')
    if hasattr(message_factory, 'GetMessageClass'):  # protobuf 4.22 and later
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


def _add(message, name: str, number: int, kind, *, repeated: bool = False, of: str = ''):
    return message.field.add(
        name=name,
        number=number,
        type=kind,
        label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
        type_name=f'.{_PACKAGE}.{of}' if of else None,
    )


Example = _example_class()
"""Message class of tf.train.Example."""
