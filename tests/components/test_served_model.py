"""The Evaluator's model takes every image once, in order, in batches that fit into memory."""

from __future__ import annotations

import pytest
import tensorflow as tf

from components.evaluator import served_model
from schemas import image_status
from schemas.signatures import STATUS


class _BatchSizes(tf.Module):
    """Returns each value, the size of its batch, and a status: values below 2 are not assessed."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.strings.to_number(examples)
        status = tf.where(values < 2, image_status.BLANK, image_status.OK)
        return {
            'value': values,
            'batch_size': tf.fill(tf.shape(examples), tf.size(examples)),
            STATUS: status,
        }


@pytest.fixture(scope='module')
def signature(tmp_path_factory: pytest.TempPathFactory) -> served_model._Signature:
    """The signature of a saved model."""
    path = str(tmp_path_factory.mktemp('model'))
    module = _BatchSizes()
    tf.saved_model.save(module, path, signatures={'serving_default': module.serve})
    return served_model.ServedModel(path).signatures['serving_default']


@pytest.mark.parametrize('images', [1, 63, 64, 65, 1000])
def test_a_large_batch_runs_in_parts(signature: served_model._Signature, images: int) -> None:
    # MobileNetV2's largest activations take 0.6 GB for 64 images, but 10 GB for a batch of Beam.
    outputs = signature(tf.constant([str(number) for number in range(images)]))
    assert outputs['value'].numpy().tolist() == list(range(images))
    assert outputs['batch_size'].numpy().max() == min(images, 64)


def test_the_input_signature_takes_any_batch(signature: served_model._Signature) -> None:
    (spec,) = signature.structured_input_signature[1].values()
    assert (spec.dtype, spec.shape.as_list()) == (tf.string, [None])


def test_images_not_assessed_are_counted_in_the_log(
    signature: served_model._Signature, caplog
) -> None:
    signature(tf.constant([str(number) for number in range(100)]))
    assert '2 of 100 images are not assessed (2 blank)' in caplog.text
    caplog.clear()
    signature(tf.constant(['2', '3']))
    assert not caplog.text


def test_an_empty_batch_has_empty_outputs(signature: served_model._Signature) -> None:
    outputs = signature(tf.constant([], tf.string))
    assert {name: (output.shape.as_list(), output.dtype) for name, output in outputs.items()} == {
        'value': ([0], tf.float32),
        'batch_size': ([0], tf.int32),
        STATUS: ([0], tf.string),
    }
