"""The warm-up file: requests that TF Serving runs before it serves a version.

Without it, the first request of a client would be slow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from components.serving_check.samples import image_only
from records import tfrecord
from schemas import signatures

# TF Serving's limit: it does not serve a version with a longer file.
MOST_REQUESTS = 1000
_FILE = os.path.join('assets.extra', 'tf_serving_warmup_requests')
_IMAGE = os.path.join(os.path.dirname(__file__), 'warmup_image.jpg')


def path_in(model_dir: str) -> str:
    """The path of the warm-up file in a SavedModel."""
    return os.path.join(model_dir, _FILE)


def image() -> bytes:
    """A synthetic chest X-ray, a grey JPEG of 600 x 600 pixels.

    It is synthetic because no patient's image may be in a file that is published with the model. It
    is a file, drawn once by `records.synth`, so that a change to the drawing code does not make
    ServingCheck run again.
    """
    with open(_IMAGE, 'rb') as stream:
        return stream.read()


def write(model_dir: str, model_name: str, batches: Sequence[int]) -> None:
    """Writes the warm-up file: a request for each signature and batch size.

    Args:
      model_dir: a local SavedModel.
      model_name: under which TF Serving serves the model.
      batches: images in each request.
    """
    jpeg = image()
    os.makedirs(os.path.dirname(path_in(model_dir)), exist_ok=True)
    with open(path_in(model_dir), 'wb') as stream:
        for signature in signatures.ALL_SIGNATURES:
            value = image_only(jpeg) if signature is signatures.EXAMPLES else jpeg
            for batch in batches:
                log = _request(model_name, signature, [value] * batch)
                stream.write(tfrecord.frame(log.SerializeToString(deterministic=True)))


def _request(
    model_name: str, signature: signatures.Signature, values: list[bytes]
) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature.name
    request.inputs[signature.input].CopyFrom(
        tf.make_tensor_proto(values, dtype=tf.string, shape=[len(values)])
    )
    return log


def read(model_dir: str) -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    """Yields (signature name, input name -> values) of each request in the warm-up file.

    Raises:
      OSError: the file is missing.
      ValueError: a record is damaged, or not a predict request.
    """
    for record in tfrecord.read(path_in(model_dir)):
        if isinstance(record, tfrecord.Damage):
            raise ValueError(f'warm-up request {record.index}: {record.reason}')
        log = prediction_log_pb2.PredictionLog.FromString(record.payload)
        if log.WhichOneof('log_type') != 'predict_log':
            raise ValueError(
                f'warm-up request {record.index} is {log.WhichOneof("log_type")}: expected '
                'predict_log'
            )
        request = log.predict_log.request
        yield (
            request.model_spec.signature_name,
            {name: list(tf.make_ndarray(value)) for name, value in request.inputs.items()},
        )
