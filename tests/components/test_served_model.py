"""The model as the Evaluator asks it: every film once, in their order, never more at once than memory is meant for."""

from __future__ import annotations

import pytest
import tensorflow as tf

from components.evaluator import served_model


class _BatchSizes(tf.Module):
    """Answers with each value itself, and with how many were asked for together."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='examples')])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'value': tf.strings.to_number(examples), 'together': tf.fill(tf.shape(examples), tf.size(examples))}


@pytest.fixture(scope='module')
def signature(tmp_path_factory: pytest.TempPathFactory) -> served_model._Signature:
    """Of a saved model."""
    path = str(tmp_path_factory.mktemp('model'))
    module = _BatchSizes()
    tf.saved_model.save(module, path, signatures={'serving_default': module.serve})
    return served_model.ServedModel(path).signatures['serving_default']


@pytest.mark.parametrize('films', [1, 63, 64, 65, 1000])
def test_a_large_batch_is_asked_for_in_parts(signature: served_model._Signature, films: int) -> None:
    # MobileNetV2's largest activations of 64 films take 0.6 GB, those of a batch of Beam's 10 GB.
    answers = signature(tf.constant([str(number) for number in range(films)]))
    assert answers['value'].numpy().tolist() == list(range(films))
    assert answers['together'].numpy().max() == min(films, 64)


def test_it_says_what_it_takes(signature: served_model._Signature) -> None:
    (spec,) = signature.structured_input_signature[1].values()
    assert (spec.dtype, spec.shape.as_list()) == (tf.string, [None])
