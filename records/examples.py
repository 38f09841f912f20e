"""Reads and writes one NIH record: a serialized tf.train.Example, with every field checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from records.example_proto import Example
from schemas.features import IMAGE, IMAGE_ID, WEIGHT
from schemas.labels import LABELS, OTHER


class RecordError(ValueError):
    """A record without the NIH layout; the text says which feature and what was expected."""


@dataclass(frozen=True)
class XrayRecord:
    """The content of a record.

    Attributes:
      image: the encoded image.
      image_id: None if the record has none.
      labels: each of LABELS -> 0 or 1.
      weight: how many images of its population it stands for; 1 if the record does not say.
    """

    image: bytes
    image_id: str | None
    labels: dict[str, int]
    other: int = 0
    weight: float = 1.0


def parse(payload: bytes) -> XrayRecord:
    """Reads a serialized tf.train.Example of the NIH layout.

    Raises:
      RecordError: `payload` is not an Example, or a feature is missing, has another type or is out
        of range.
    """
    example = Example()
    try:
        size = example.MergeFromString(payload)
    except DecodeError:
        raise RecordError('not a tf.train.Example') from None
    # protobuf up to 3.20 only warns when it stops at a stray end-group tag.
    if size != len(payload):
        raise RecordError(f'not a tf.train.Example: it ends after {size} of {len(payload)} bytes')
    features = example.features.feature
    if not features:
        raise RecordError('not a tf.train.Example with features: the record has none')
    image = _single(features, IMAGE, 'bytes_list')
    if not image:
        raise RecordError(f'feature {IMAGE!r} is empty: expected the bytes of a JPEG')
    image_id = None
    if IMAGE_ID in features:
        raw = _single(features, IMAGE_ID, 'bytes_list')
        try:
            image_id = raw.decode('utf-8')
        except UnicodeDecodeError:
            raise RecordError(f'feature {IMAGE_ID!r} is not UTF-8 text: {raw[:40]!r}') from None
    labels = {name: _single(features, name, 'int64_list') for name in LABELS}
    for name, value in labels.items():
        if value not in (0, 1):
            raise RecordError(f'label {name!r} is {value}: expected 0 or 1')
    other = _single(features, OTHER, 'int64_list') if OTHER in features else 0
    if other not in (0, 1):
        raise RecordError(f'feature {OTHER!r} is {other}: expected 0 or 1, or no such feature')
    weight = _single(features, WEIGHT, 'float_list') if WEIGHT in features else 1.0
    if not 0 < weight < math.inf:
        raise RecordError(f'feature {WEIGHT!r} is {weight}: expected a number above 0')
    return XrayRecord(image, image_id, labels, other, weight)


def build(
    image: bytes, image_id: str | None, labels: Mapping[str, int], weight: float | None = None
) -> bytes:
    """A serialized tf.train.Example with the NIH layout. Equal input gives equal bytes.

    Args:
      image: the encoded image.
      image_id: None to leave it out.
      labels: label or OTHER -> 0 or 1; labels that are not named are 0.
      weight: see `XrayRecord`; None to leave it out.
    """
    example = Example()
    put_bytes(example, IMAGE, image)
    if image_id is not None:
        put_bytes(example, IMAGE_ID, image_id.encode('utf-8'))
    for name in LABELS:
        put_int(example, name, int(labels.get(name, 0)))
    if labels.get(OTHER):
        put_int(example, OTHER, 1)
    if weight is not None:
        put_float(example, WEIGHT, weight)
    return serialize(example)


def put_bytes(example: Any, name: str, value: bytes) -> None:
    """Sets a feature of a tf.train.Example (TensorFlow's class or `Example`) to one bytes value."""
    example.features.feature[name].bytes_list.value[:] = [value]


def put_int(example: Any, name: str, value: int) -> None:
    """Sets a feature of a tf.train.Example (TensorFlow's class or `Example`) to one int64 value."""
    example.features.feature[name].int64_list.value[:] = [value]


def put_float(example: Any, name: str, value: float) -> None:
    """Sets a feature of a tf.train.Example (TensorFlow's class or `Example`) to one float value."""
    example.features.feature[name].float_list.value[:] = [value]


def serialize(example: Any) -> bytes:
    """Bytes with the features in a fixed order, so that equal examples are equal bytes."""
    return example.SerializeToString(deterministic=True)


def _single(features, name: str, kind: str):
    if name not in features:
        raise RecordError(
            f'feature {name!r} is missing: the record has {", ".join(sorted(features)) or "none"}'
        )
    feature = features[name]
    actual = feature.WhichOneof('kind')
    if actual != kind:
        raise RecordError(
            f'feature {name!r} is a {actual or "feature without values"}: expected a {kind}'
        )
    values = getattr(feature, kind).value
    if len(values) != 1:
        raise RecordError(f'feature {name!r} has {len(values)} values: expected 1')
    return values[0]
